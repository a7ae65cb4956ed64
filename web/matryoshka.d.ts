// The machine as an object, for a page, for Node and for tests.
//
//   import { createMachine } from "./machine.js";
//   const machine = await createMachine({ memory: "128M", kernel: "kernel.bin", initrd: "initrd.bin", cmdline: "console=ttyS0 quiet" });
//   await machine.start();
//   await machine.serial(0).expect("# ");
//   await machine.serial(0).write("uname -a\n");

/** An address, a file of the disk (Node), chosen files or bytes. `size` and `sha256`, if known, are checked. */
export type Image =
  | string
  | URL
  | Blob
  | ArrayBuffer
  | Uint8Array
  | { url: string | URL; name?: string; size?: number; sha256?: string }
  | { bytes: Uint8Array; name?: string }
  | { blob: Blob; name?: string };

export interface MachineOptions {
  /** "512M", "1G", or bytes; 128 MiB if not given. */
  memory?: string | number;
  /** Model, then +flag,-flag. */
  cpu?: string;
  /** A bzImage, a vmlinux or a multiboot ELF image. */
  kernel?: Image;
  /** The initial RAM disk; for multiboot several modules, with their arguments. */
  initrd?: Image | (Image | { image: Image; args?: string })[];
  /** The kernel's command line. */
  cmdline?: string;
  /** A ROM to start from instead of a kernel. */
  bios?: Image;
  /** Raw disks. What the guest writes stays in the machine and in saveState(). */
  drives?: (Image | { image: Image; readonly?: boolean })[];
  /** Files of the folder that the guest finds at /mnt/share, by their paths: text or bytes. A copy; what the guest writes stays there. */
  share?: Record<string, string | Uint8Array>;
  /** A 9p share with tag `l0`, at /l0 in the small Linux, which has what the monitor tells of VM exits as files. */
  l0?: boolean;
  /** "virtual" repeats bit for bit; "host", which is what a page gets, follows real time. */
  clock?: "virtual" | "host";
  /** What the guest's clock shows at the start: seconds since 1970, or a time such as 2025-01-01T00:00:00, or "now". */
  epoch?: number | string;
  /** Of the guest's random numbers. */
  seed?: number;
  /** The port of isa-debug-exit. */
  debugExit?: number;
  /** A reset or a triple fault ends the run. */
  noReboot?: boolean;
  /** Pause when a line of output matches (an ECMAScript regular expression), at that very byte. */
  until?: string;
  /** Answers typed when a line matches, in order, each once. */
  type?: [pattern: string, text: string][];
  /** Keep a recording of every input; recording() has it. */
  record?: boolean;
  /** Take all input from a recording. */
  replay?: Image;
  /** Go on from a saved machine, which brings its own configuration. If it had drives, give them again. */
  snapshot?: Image;
  /** The whole snapshot that the changes in `snapshot` belong to. */
  base?: Image;
  /** Further options as ./matryoshka takes them. */
  args?: string[];
  /** Where matryoshka.wasm is; beside machine.js if not given. */
  core?: Image;
  /** What relative addresses are relative to; the page if not given. */
  baseURL?: string | URL;
  /** Ends the download. */
  signal?: AbortSignal;

  onprogress?: (value: Progress) => void;
  onstate?: (value: StateChange) => void;
  onoutput?: (value: Output) => void | Promise<void>;
  onstats?: (value: Figures) => void;
  onerror?: (error: MachineError) => void;
}

export type PortName = "serial" | "console" | "debugcon" | "monitor";
export type State = "loading" | "ready" | "running" | "paused" | "halted" | "shutdown" | "error";

/** Bytes over all files together. */
export interface Progress {
  loaded: number;
  total: number;
  file: string;
}

export interface StateChange {
  state: State;
  ticks: number;
  reason?: "asked" | "match" | "tick-limit" | "loaded" | "monitor" | "quit" | "power-off" | "reset" | "debug-exit" | "triple-fault" | "halted";
  exitCode?: number;
  /** The registers, as text, when the guest halted. */
  processor?: string;
}

export interface Output {
  port: PortName;
  bytes: Uint8Array;
}

/** Twice a second while the machine runs. */
export interface Figures {
  ticks: number;
  instructions: number;
  mips: number;
  /** Whether the JIT's code is compiled; "forbidden" by the site's policy, or "failed", the machine interprets. */
  compiling: "well" | "forbidden" | "failed";
}

export interface Port {
  /** What somebody types; text goes as UTF-8. */
  write(data: string | Uint8Array): Promise<void>;
  /** All that the guest has written, the last mebibyte of it. */
  text(): string;
  /** Waits until output that no earlier expect() has used matches, and uses it up. Timeout in milliseconds; 60,000 if not given. */
  expect(pattern: string | RegExp, options?: { timeout?: number }): Promise<RegExpExecArray>;
}

/** The monitor's prompt, which edits its line itself: "\r" ends it, and Ctrl-C gives up what it waits for. */
export interface Prompt extends Port {
  /** The machine pauses, unless `pause` is false or the monitor waits for something. */
  open(options?: { pause?: boolean }): Promise<void>;
  /** The machine runs on. */
  close(): Promise<void>;
}

/** What the inspector's panes show. Numbers that may have 64 bits are text such as "0xfe". */
export interface Panes {
  tick: number;
  /** From the host, L1, down. `vmcs` and the counts are those of a guest. */
  layers: { depth: number; name: string; state: string; running: boolean; vmcs?: string; entries?: number; exits?: number; instructions?: number }[];
  entries: number;
  failedEntries: number;
  /** How often each exit reason came, by its number. */
  reasons: { number: number; title: string; count: number }[];
  /** The last entries and exits, newest first. `spent` is in instructions since the one before. */
  events: { number: number; kind: "entry" | "exit" | "failed-entry"; layer: number; title: string; what: string; cause: string; rip: string; spent: number }[];
  /** The current one, if there is one; `before` is there where the exit before the last had another value, and `since` is its number. */
  vmcs?: {
    address: string; layer: number; launched: boolean; since?: number;
    groups: { title: string; fields: { title: string; encoding: string; value: string; words: string; before?: string }[] }[];
  };
}

export interface Machine {
  readonly state: State;
  /** Runs; with `stopAt` to the first instruction boundary at or after that tick, where it pauses. */
  start(options?: { stopAt?: number }): Promise<void>;
  pause(): Promise<void>;
  /** The reset button. A machine that has ended or failed starts again. */
  reset(): Promise<void>;
  /** The power button, which the guest may heed. */
  power(): Promise<void>;
  /** Ends the machine for good. */
  destroy(): void;

  serial(index?: 0): Port;
  /** The virtio console. */
  console(): Port;
  debugcon(): Port;

  /**
   * One of the monitor's commands ("help" lists them), and what it says. `until` and `step` answer when they have arrived; the
   * machine is paused then, and start() lets it run on.
   */
  monitor(command: string): Promise<string>;
  /** The same for a person, at a terminal. */
  prompt(): Prompt;
  panes(): Promise<Panes>;

  on(event: "state", listener: (value: StateChange) => void): () => void;
  /** A promise that the listener answers holds the guest back while much output waits. */
  on(event: "output", listener: (value: Output) => void | Promise<void>): () => void;
  on(event: "progress", listener: (value: Progress) => void): () => void;
  on(event: "stats", listener: (value: Figures) => void): () => void;
  on(event: "error", listener: (error: MachineError) => void): () => void;

  /** What `./matryoshka --stats` writes. */
  stats(): Promise<Record<string, unknown>>;
  /** Over every saved bit and all memory: 16 hexadecimal digits. */
  hash(): Promise<string>;
  /** The processor's registers, as text. */
  describe(): Promise<string>;
  /**
   * A file of the whole machine, or with `changes` of what has changed since the last whole one that it was saved to or loaded
   * from. The guest stands still meanwhile.
   */
  saveState(options?: { changes?: boolean }): Promise<Uint8Array>;
  /**
   * Goes on from a snapshot, and from its base if it holds only changes. Drives are this machine's own unless others are given. If
   * the snapshot is refused, this machine stays as it is.
   */
  loadState(snapshot: Image, options?: { base?: Image; drives?: MachineOptions["drives"] }): Promise<void>;
  recording(): Promise<Uint8Array>;
  /** The size of the terminal, for a guest that uses the virtio console. */
  resize(columns: number, rows: number): Promise<void>;
}

/** Answers a machine that is ready to start: its files are here and checked, and nothing has run. */
export function createMachine(options?: MachineOptions): Promise<Machine>;

export class MachineError extends Error {
  readonly code:
    | "E_NO_WASM" | "E_CSP_WASM" | "E_DOWNLOAD" | "E_DAMAGED" | "E_MEMORY" | "E_OPTIONS" | "E_REFUSED" | "E_CORE" | "E_ENDED" | "E_TIMEOUT";
  /** One sentence: what happened and what helps. */
  readonly message: string;
  readonly details: Record<string, unknown>;
}
