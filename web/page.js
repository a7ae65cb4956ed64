// The page: one machine, its terminal and the words around it.
//
// ?clock=virtual makes a run repeat bit for bit; ?l0=1 shows the guest what the monitor tells, as files in /l0; ?test=1 puts the machine into window.machine; ?lang=ru or en.

import { createMachine } from "./machine.js";
import { MachineError, asMachineError } from "./errors.js";
import { mountInspector } from "./inspector.js";
import { languages, number, setLanguage, text } from "./strings.js";
import { mountTerminal } from "./terminal.js";

const query = new URLSearchParams(location.search);
const element = (id) => document.getElementById(id);

// Storage may be denied inside a frame; settings are then kept until the page closes.
const settings = {
  get: (name) => {
    try {
      return localStorage.getItem(`matryoshka.${name}`);
    } catch {
      return null;
    }
  },
  set: (name, value) => {
    try {
      localStorage.setItem(`matryoshka.${name}`, value);
    } catch { /* kept in the page only */ }
  },
};

let machine = null;      // the object of machine.js, once its files are here
let starting = null;     // ends the download that is under way
let terminal = null;     // the guest's console
let monitor = null;      // the monitor's prompt has a terminal of its own, from its first use on
let view = "console";    // which of the two is shown, or "monitor"
let inspector = null;
let state = "loading";
let stateFacts = {};
let figures = null;
let problem = null;      // what the cover shows
let own = null;          // the files of "Your own kernel", or null for the small Linux
let keyboard = "serial"; // the port that the keys go to
let typed = false;
let lastProgress = null;

// --- Words -------------------------------------------------------------------

function chooseLanguage(name) {
  document.documentElement.lang = setLanguage(name);
  document.title = text("page.title");
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = text(node.dataset.text);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", text(node.dataset.label));
  element("language").lang = name === "ru" ? "en" : "ru";
  terminal?.setLabels(terminalLabels());
  monitor?.setLabels(terminalLabels("monitor.prompt"));
  inspector?.refresh();
  showState();
  showProgress();
  if (problem) showProblem(problem);
}

const terminalLabels = (key = "terminal.prompt") => ({ label: text(key), hintId: "hint", tooMuch: text("terminal.too-much") });

const shownTerminal = () => (view === "monitor" ? monitor : terminal);
const held = () => state === "paused" && stateFacts.reason === "monitor";

function sentence(error) {
  const megabytes = error.details?.bytes ? Math.ceil(error.details.bytes / (1 << 20)) : "";
  return text(`error.${error.code}`, { message: error.message, megabytes, ...error.details });
}

// --- What the page shows -----------------------------------------------------

function showState() {
  element("machine").dataset.state = state;
  const status = element("status");
  const words = text(held() ? "state.held" : `state.${state}`);
  if (status.textContent !== words) status.textContent = words;
  element("pause").textContent = text(state === "paused" ? "button.resume" : "button.pause");
  element("pause").disabled = state !== "running" && state !== "paused";
  element("paste").disabled = view === "console" ? state !== "running" : !machine;
  element("to-monitor").disabled = !machine || state === "error";
  showFigures();
}

function showFigures() {
  if (!figures || state === "loading") {
    element("figures").textContent = "";
    return;
  }
  const key = state === "running" && figures.mips >= 0.5 ? "figures" : "figures.idle";
  const known = { mips: number(figures.mips), instructions: number(figures.instructions / 1e6) };
  element("figures").textContent = state === "running" || key === "figures" ? text(key, known) : "";
}

function showProgress() {
  if (!lastProgress) return;
  const { loaded, total } = lastProgress;
  element("meter").value = total ? loaded / total : 0;
  element("amount").textContent = text("progress", { loaded: number(loaded / 1e6, 1), total: number(total / 1e6, 1) });
}

function showNotice(key, values) {
  const notice = element("notice");
  notice.hidden = !key;
  notice.textContent = key ? text(key, values) : "";
}

function showProblem({ title, words, details }) {
  problem = { title, words, details };
  element("progress").hidden = true;
  element("problem").hidden = false;
  element("problem-title").textContent = title();
  element("problem-text").textContent = words();
  element("problem-details").hidden = !details;
  element("problem-details").querySelector("pre").textContent = details ?? "";
  element("default").hidden = own === null;
}

function showError(error) {
  const known = asMachineError(error);
  setState("error");
  showProblem({ title: () => text("error.title"), words: () => sentence(known) });
}

function setState(next, facts = {}) {
  state = next;
  stateFacts = facts;
  showState();
  showStateNotice();
}

function showStateNotice() {
  const { reason } = stateFacts;
  if (state === "shutdown") showNotice(reason === "power-off" ? "notice.shutdown" : `notice.${reason}`, stateFacts);
  else if (state === "halted") showNotice(`notice.${reason}`);
  else showNotice(held() && view === "console" ? "notice.held" : null);
}

// --- The machine -------------------------------------------------------------

async function manifest() {
  let response;
  try {
    response = await fetch("machine.json", { cache: "no-cache" });
    if (!response.ok) throw new Error(response.status);
    return await response.json();
  } catch {
    throw new MachineError("E_MANIFEST", "The list of files, machine.json, did not arrive; look at the connection and try again");
  }
}

async function optionsOfMachine() {
  const list = await manifest();
  const common = { core: list.core, clock: query.get("clock") ?? undefined, l0: query.get("l0") === "1" };
  if (own) return { ...common, ...own };
  const [columns, rows] = terminal.size;
  return {
    ...common, memory: query.get("memory") ?? list.memory, kernel: list.kernel, initrd: list.initrd,
    drives: (list.drives ?? []).map((image) => ({ image, readonly: true })),
    cmdline: `${list.cmdline} cols=${columns} rows=${rows}`,
  };
}

async function boot() {
  starting?.abort();
  machine?.destroy();
  machine = null;
  window.machine = undefined;
  const abort = (starting = new AbortController());
  figures = problem = null;
  keyboard = "serial";
  element("problem").hidden = true;
  element("progress").hidden = false;
  element("start-note").hidden = true;
  element("bar").hidden = false;
  lastProgress = { loaded: 0, total: 0 };
  terminal.clear();
  monitor?.clear();
  inspector.forget();
  setView("console");
  setState("loading");
  showProgress();
  try {
    const made = await createMachine({
      ...(await optionsOfMachine()),
      signal: abort.signal,
      onprogress(progress) {
        if (abort.signal.aborted) return;
        lastProgress = progress;
        showProgress();
      },
    });
    if (abort.signal.aborted) return made.destroy();
    listen(made);
    machine = made;
    if (query.get("test") === "1") window.machine = made;
    element("progress").hidden = true;
    element("toolbar").hidden = element("keys").hidden = false;
    made.resize(...terminal.size).catch(() => {});
    await made.start();
    // Whoever is already somewhere else stays there, and a frame never takes the focus from its page.
    if (document.activeElement === document.body && window === window.top) terminal.focus();
  } catch (error) {
    if (!abort.signal.aborted) showError(error);
  }
}

let compiling = "well";

function listen(made) {
  made.on("state", (value) => {
    if (value.state !== "error") setState(value.state, value);
    if (value.state === "halted" && value.processor) {
      showNotice(`notice.${value.reason}`);
      terminal.write(new TextEncoder().encode(`\r\n${value.processor.replaceAll("\n", "\r\n")}\r\n`));
    }
  });
  made.on("stats", (value) => {
    figures = value;
    showFigures();
    if (value.compiling !== compiling) {
      compiling = value.compiling;
      showNotice(compiling === "well" ? null : `notice.jit-${compiling}`);
    }
  });
  made.on("output", ({ port, bytes }) => {
    if (port === "monitor") return monitor?.write(bytes);
    if (port === "debugcon") return;
    if (port === "console") keyboard = port;
    return terminal.write(bytes);
  });
  made.on("error", showError);
}

function send(bytes) {
  if (state !== "running" && state !== "paused") return;
  const port = keyboard === "console" ? machine.console() : machine.serial(0);
  port.write(bytes).catch(() => {});
}

// --- The monitor ---------------------------------------------------------------

function setView(name) {
  view = name;
  element("terminal").hidden = name === "monitor";
  element("monitor").hidden = name !== "monitor";
  element("to-monitor").setAttribute("aria-pressed", String(name === "monitor"));
}

// The guest's console goes on as it is, unseen. The machine pauses when its monitor is shown, and runs again when somebody says so.
async function show(name) {
  if (!machine || state === "error" || name === view) return;
  setView(name);
  if (name === "monitor") monitor ??= mount("monitor", "monitor.prompt", (bytes) => machine.prompt().write(bytes).catch(() => {}));
  // At once, so that no key of a fast typist is lost.
  shownTerminal().focus();
  showState();
  showStateNotice();
  if (name === "monitor") await machine.prompt().open().catch(showError);
}

const switchView = () => show(view === "monitor" ? "console" : "monitor");

// A command as if somebody had typed it.
async function typeAtMonitor(command) {
  await show("monitor");
  await machine.prompt().write(`${command}\r`);
}

// A guest inside the guest: the command is typed where a person would type it.
async function startGuest() {
  if (state === "paused") await machine.start();
  await show("console");
  send(new TextEncoder().encode("vmm\r"));
  typed = true;
  terminal.focus();
}

// --- What people do ----------------------------------------------------------

function switchReader(on) {
  element("reader").setAttribute("aria-pressed", String(on));
  for (const each of [terminal, monitor]) if (each) each.screenReader = on;
  settings.set("reader", on ? "1" : "0");
}

function changeText(step) {
  for (const each of [terminal, monitor]) if (each) each.fontSize += step;
  settings.set("text", String(terminal.fontSize));
}

// The bar of keys. Ctrl holds for one key, as on phones the shift key does; letters and some signs have a control character.
let control = false;

function holdControl(on) {
  control = on;
  element("control").setAttribute("aria-pressed", String(on));
}

function withControl(bytes) {
  const letter = bytes.length === 1 ? bytes[0] : 0;
  if (letter >= 0x61 && letter <= 0x7a) return Uint8Array.of(letter - 0x60);
  return letter >= 0x40 && letter <= 0x5f ? Uint8Array.of(letter & 0x1f) : bytes;
}

function connectKeys() {
  const keys = element("keys");
  // A press must not take the focus from the terminal: the keyboard on the screen would go away.
  keys.addEventListener("pointerdown", (event) => event.preventDefault());
  keys.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    if (button.id === "control") return holdControl(!control);
    typed ||= button.dataset.key !== "Escape";
    shownTerminal().press(button.dataset.key);
    holdControl(false);
  });
}

function whenClicked(id, action) {
  element(id).addEventListener("click", action);
}

function connectControls() {
  whenClicked("language", () => {
    const next = languages[(languages.indexOf(document.documentElement.lang) + 1) % languages.length];
    settings.set("language", next);
    chooseLanguage(next);
  });
  whenClicked("pause", async () => {
    if (state === "running") await machine.pause();
    else if (state === "paused") await machine.start();
  });
  whenClicked("reset", async () => {
    if (!machine || state === "error") return boot();
    terminal.clear();
    keyboard = "serial";
    await machine.reset().catch(showError);
  });
  whenClicked("paste", async () => {
    try {
      shownTerminal().paste(await navigator.clipboard.readText());
      typed = true;
      shownTerminal().focus();
    } catch {
      showNotice("notice.paste");
    }
  });
  whenClicked("to-monitor", switchView);
  // Before the terminal sees it. The letter is the one on the key or its place, for layouts that have no m there.
  window.addEventListener("keydown", (event) => {
    const chord = event.ctrlKey && event.altKey && !event.shiftKey && !event.metaKey;
    if (!chord || (event.code !== "KeyM" && event.key.toLowerCase() !== "m")) return;
    event.preventDefault();
    event.stopPropagation();
    switchView();
  }, { capture: true });
  whenClicked("reader", () => switchReader(element("reader").getAttribute("aria-pressed") !== "true"));
  whenClicked("smaller", () => changeText(-1));
  whenClicked("larger", () => changeText(+1));
  whenClicked("retry", boot);
  whenClicked("default", () => {
    own = null;
    boot();
  });
  element("own-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const kernel = element("own-kernel").files[0], initrd = element("own-initrd").files[0];
    if (!kernel) {
      showNotice("own.none");
      element("own-kernel").focus();
      return;
    }
    own = { kernel, initrd, cmdline: element("own-cmdline").value, memory: element("own-memory").value };
    boot();
  });
  window.addEventListener("beforeunload", (event) => {
    if (typed && (state === "running" || state === "paused")) event.preventDefault();
  });
}

// A terminal in the element of that name; `type(bytes)` takes what is typed.
function mount(id, labelKey, type) {
  const made = mountTerminal(element(id), {
    fontSize: terminal?.fontSize ?? (Number(settings.get("text")) || (window.innerWidth < 500 ? 12 : 15)),
    screenReader: settings.get("reader") === "1",
    confirmLink: (url) => window.confirm(text("notice.link", { url })),
    labels: terminalLabels(labelKey),
  });
  made.onInput((bytes, key) => {
    // Esc is also the way out of the terminal, and then nothing was typed.
    if (key && !(bytes.length === 1 && bytes[0] === 27)) typed = true;
    type(control && key ? withControl(bytes) : bytes);
    if (key) holdControl(false);
  });
  return made;
}

terminal = mount("terminal", "terminal.prompt", send);
terminal.onResize((columns, rows) => machine?.resize(columns, rows).catch(() => {}));
inspector = mountInspector({ machine: () => machine, why: (event) => typeAtMonitor(`why ${event}`), startGuest });
connectControls();
connectKeys();
switchReader(settings.get("reader") === "1");
chooseLanguage(query.get("lang") ?? settings.get("language") ?? (navigator.language.startsWith("ru") ? "ru" : "en"));
boot();
