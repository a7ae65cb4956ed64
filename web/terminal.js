// The terminal: xterm.js, held on a short leash. What the guest writes may move a cursor and choose colours; it may not
// reach the clipboard, the title or, without a question, another page.

import { FitAddon } from "./xterm/addon-fit.js";
import { Unicode11Addon } from "./xterm/addon-unicode11.js";
import { Terminal } from "./xterm/xterm.js";

const themes = {
  dark: {
    background: "#10141c", foreground: "#d7dce6", cursor: "#ffb454", cursorAccent: "#10141c", selectionBackground: "#33415c",
    black: "#1d2430", red: "#f07178", green: "#a6d189", yellow: "#e6c068", blue: "#7aa2f7", magenta: "#c792ea", cyan: "#7fd1d8", white: "#d7dce6",
    brightBlack: "#66718a", brightRed: "#ff8b92", brightGreen: "#bfe8a0", brightYellow: "#ffd787", brightBlue: "#9dbcff", brightMagenta: "#dbb2f5", brightCyan: "#a3e6ea", brightWhite: "#ffffff",
  },
  light: {
    background: "#fbfaf7", foreground: "#23262e", cursor: "#b4530a", cursorAccent: "#fbfaf7", selectionBackground: "#cfdcf2",
    black: "#23262e", red: "#b3261e", green: "#3c6e1f", yellow: "#8a5a00", blue: "#1f55b5", magenta: "#8030a0", cyan: "#0b6a75", white: "#6d717c",
    brightBlack: "#5b6070", brightRed: "#c8372f", brightGreen: "#4a8427", brightYellow: "#9c6900", brightBlue: "#2e68d0", brightMagenta: "#9440b8", brightCyan: "#0f7d8a", brightWhite: "#45495a",
  },
};

const dark = matchMedia("(prefers-color-scheme: dark)");
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const smallest = 9, largest = 32;

// `confirmLink(url)` answers whether to open it. `labels` are the texts that a screen reader speaks.
export function mountTerminal(parent, { fontSize = 15, screenReader = false, confirmLink, labels }) {
  const terminal = new Terminal({
    allowProposedApi: true,  // the Unicode 11 widths
    cursorBlink: !calm.matches,
    fontFamily: 'ui-monospace, "Cascadia Mono", "DejaVu Sans Mono", "Liberation Mono", Menlo, Consolas, monospace',
    fontSize,
    minimumContrastRatio: 4.5,
    screenReaderMode: screenReader,
    scrollback: 5000,
    smoothScrollDuration: 0,
    theme: dark.matches ? themes.dark : themes.light,
    // The guest may ask how many characters fit, which is how `resize` works on a serial line, and nothing else.
    windowOptions: { getWinSizeChars: true },
    linkHandler: {
      activate(_event, url) {
        if (/^https?:/.test(url) && confirmLink(url)) window.open(url, "_blank", "noopener,noreferrer");
      },
    },
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.loadAddon(new Unicode11Addon());
  terminal.unicode.activeVersion = "11";
  // OSC 52 would write to the clipboard. xterm.js leaves it to an add-on that is not here; this makes it a promise.
  terminal.parser.registerOscHandler(52, () => true);
  terminal.open(parent);

  // Esc, then Tab: the way out for people without a mouse. Esc itself goes to the guest as always.
  let escaped = false;
  terminal.attachCustomKeyEventHandler((event) => {
    if (event.type !== "keydown" || event.key === "Shift") return true;
    if (event.key === "Tab" && escaped) {
      escaped = false;
      return false;
    }
    escaped = event.key === "Escape";
    return true;
  });

  const refit = () => {
    if (parent.clientWidth > 0) fit.fit();
  };
  const observer = new ResizeObserver(refit);
  observer.observe(parent);
  const recolour = () => (terminal.options.theme = dark.matches ? themes.dark : themes.light);
  const settle = () => (terminal.options.cursorBlink = !calm.matches);
  dark.addEventListener("change", recolour);
  calm.addEventListener("change", settle);

  const api = {
    // Resolves when the bytes are on the screen.
    write: (bytes) => new Promise((done) => terminal.write(bytes, done)),
    clear: () => terminal.reset(),
    focus: () => terminal.focus(),
    paste: (text) => terminal.paste(text),
    // A key of ours, as the one on a keyboard would arrive: cursor keys depend on the mode that the guest has set.
    press(name) {
      const cursor = terminal.modes.applicationCursorKeysMode ? "\x1bO" : "\x1b[";
      const keys = {
        Escape: "\x1b", Tab: "\t", ArrowUp: `${cursor}A`, ArrowDown: `${cursor}B`, ArrowRight: `${cursor}C`, ArrowLeft: `${cursor}D`,
      };
      terminal.input(keys[name]);
    },
    // `listener(bytes, key)`; `key` tells a person's keys from the terminal's own answers to the guest.
    onInput(listener) {
      let key = false;
      const encoder = new TextEncoder();
      terminal.onKey(() => (key = true));
      terminal.onData((data) => {
        listener(encoder.encode(data), key);
        key = false;
      });
      terminal.onBinary((data) => listener(Uint8Array.from(data, (c) => c.charCodeAt(0)), false));
    },
    onResize: (listener) => terminal.onResize(({ cols, rows }) => listener(cols, rows)),
    get size() {
      return [terminal.cols, terminal.rows];
    },
    get fontSize() {
      return terminal.options.fontSize;
    },
    set fontSize(size) {
      terminal.options.fontSize = Math.min(largest, Math.max(smallest, size));
      refit();
    },
    set screenReader(on) {
      terminal.options.screenReaderMode = on;
    },
    setLabels({ label, hintId, tooMuch }) {
      terminal.textarea.setAttribute("aria-label", label);
      terminal.textarea.setAttribute("aria-describedby", hintId);
      Terminal.strings.promptLabel = label;
      Terminal.strings.tooMuchOutput = tooMuch;
    },
    dispose() {
      observer.disconnect();
      dark.removeEventListener("change", recolour);
      calm.removeEventListener("change", settle);
      terminal.dispose();
    },
  };
  api.setLabels(labels);
  refit();
  return api;
}
