// What goes wrong, as one sentence for people and a code for programs.
//
// Codes: E_NO_WASM, E_CSP_WASM, E_DOWNLOAD, E_DAMAGED, E_MEMORY, E_OPTIONS, E_REFUSED (the machine will not take a file or
// a setting), E_CORE (the emulator itself failed), E_ENDED (the machine is not there any more), E_TIMEOUT.

export class MachineError extends Error {
  constructor(code, message, details = {}) {
    super(/[.!?]$/.test(message) ? message : `${message}.`);
    this.name = "MachineError";
    this.code = code;
    this.details = details;
  }

  // Errors cross from the worker as plain objects.
  toJSON() {
    return { code: this.code, message: this.message, details: this.details };
  }
  static from(plain) {
    return new MachineError(plain.code ?? "E_CORE", plain.message, plain.details);
  }
}

export function asMachineError(error) {
  if (error instanceof MachineError) return error;
  return new MachineError("E_CORE", `The emulator failed (${error?.message ?? error}). Restart the machine.`);
}
