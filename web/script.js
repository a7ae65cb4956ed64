// What --until and --type mean; cli/script.h has the same rules for the native program.
//
// A line is the text since the last line feed, without carriage returns, or since a rule was last used. It is looked at
// after each byte, so an answer is typed, or the run ended, at the very tick of the match, and a run repeats. Expressions
// match bytes, as the native program's do: a pattern is taken as its UTF-8.

import { MachineError } from "./errors.js";

const LONGEST_LINE = 2048;

function compile(option, pattern) {
  const bytes = String.fromCharCode(...new TextEncoder().encode(pattern));
  try {
    return new RegExp(bytes);
  } catch {
    throw new MachineError("E_OPTIONS", `${option} has an expression that cannot be read: '${pattern}'`);
  }
}

export class Script {
  #until;
  #rules;
  #lines = {};

  constructor({ until, type }) {
    this.#until = until ? compile("--until", until) : null;
    this.#rules = type.map((rule) => ({ pattern: compile("--type", rule.pattern), bytes: Uint8Array.from(rule.bytes) }));
  }

  get idle() {
    return !this.#until && this.#rules.length === 0;
  }

  // Answers null, "end", or the bytes to be typed.
  watch(port, byte) {
    if (byte === 13 || this.idle) return null;
    if (byte === 10) {
      this.#lines[port] = "";
      return null;
    }
    let line = this.#lines[port] ?? "";
    if (line.length >= LONGEST_LINE) line = line.slice(LONGEST_LINE / 2);
    line += String.fromCharCode(byte);
    this.#lines[port] = line;
    if (this.#rules[0]?.pattern.test(line)) {
      this.#lines[port] = "";
      return this.#rules.shift().bytes;
    }
    return this.#until?.test(line) ? "end" : null;
  }
}
