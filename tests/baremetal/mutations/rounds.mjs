// Random VMCSs (mutations.asm): runs rounds of them on an engine, reads the lines, and knows where Bochs is known to differ.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { assembleFile, output } from "../engines.mjs";

const controls = readFileSync(fileURLToPath(new URL("../../../vmx-model/controls.def", import.meta.url)), "utf8");
const wordFields = { pin: 0x4000, primary: 0x4002, primary: 0x4002, secondary: 0x401e, exit: 0x400c, entry: 0x4012 };
// Control bits that this processor lacks, by the field they are in.
const absent = new Map(Object.values(wordFields).map((field) => [field, 0n]));
for (const [, word, bit] of controls.matchAll(/^CONTROL\((\w+), (\d+), \w+, absent/gm))
  absent.set(wordFields[word], absent.get(wordFields[word]) | 1n << BigInt(bit));

// Rounds whose answers by Bochs are kept, and all that tests/baremetal/compare runs, so many at a time.
export const golden = fileURLToPath(new URL("../../goldens/vmx_mutations.txt", import.meta.url));
export const kept = 2000, compared = 20_000, portion = 1000;

const F = {
  pin: 0x4000, primary: 0x4002, trRights: 0x4822, ldtrRights: 0x4820, cs: 0x802, link: 0x2800, debugctl: 0x2802, virtualApic: 0x2012, rights: 0x4814, csRights: 0x4816, interruptibility: 0x4824, activity: 0x4826,
  dr7: 0x681a, rip: 0x681e, rflags: 0x6820, pending: 0x6822,
};
const INVALID_GUEST = 0x80000021n, BAD_CONTROLS = 0xfa110007n;
const REAL = 3;
const kinds = 6, withNmis = 14;  // in SHAPE

// Bochs' debugger speaks in between where a guest ends in a triple fault.
export const roundsOf = (text) => [...text.replaceAll("\r", "").replace(/\(0\)\.\[\d+\].*\n/g, "").matchAll(/^([0-9A-F]{8}) ([0-9A-F]{8}) ([0-9A-F ]+) = ([0-9A-F +]+)$/gm)].map(([, number, shape, fields, rest]) => {
  const changed = fields.trim().split(" ");
  return {
    number: parseInt(number, 16), shape: parseInt(shape, 16), kind: (parseInt(shape, 16) & 0xff) % kinds,
    fields: Array.from({ length: changed.length / 2 }, (_, i) => [parseInt(changed[2 * i], 16), BigInt(`0x${changed[2 * i + 1]}`)]),
    ...cameOf(rest),
  };
});

// What came of a round: as it is printed, and without needless zeroes, as the golden keeps it.
export function cameOf(text) {
  const [outcome, ...after] = text.trim().split(" + ").map((part) => part.trim().split(" ").map((word) => BigInt(`0x${word}`)));
  const [reason, qualification, interruption, vectoring] = outcome;
  return { outcome: { reason, qualification, interruption, vectoring }, after: new Map(after.map(([field, value]) => [Number(field), value])) };
}
export const shortly = ({ outcome, after }) => [
  Object.values(outcome).filter((word) => word !== undefined).map((word) => word.toString(16)).join(" "),
  ...[...after].map(([field, value]) => `${field.toString(16)} ${value.toString(16)}`),
].join(" + ");

const has = (round, field, test = () => true) => round.fields.some(([changed, value]) => changed === field && test(value));

const failed = ({ outcome }) => outcome.vectoring === undefined;
const vectorOf = ({ outcome }) => (outcome.interruption ?? 0n) & 0xffn;
const addresses = new Set([0x2000, 0x2002, 0x2004, 0x2006, 0x2008, 0x200a, 0x2012, 0x2014, 0x201a, 0x2800, 0x280a, 0x280c, 0x6802, 0x6c02]);
const valueOf = (round, field) => round.fields.findLast(([changed]) => changed === field)?.[1] ?? 0n;

// Where Bochs 2.7 is known to differ, and who is right by the manual. `fields` explains a field of the guest that another value
// was left in; `round` a whole round, whatever came of it.
export const explanations = [
  { name: "controls that this processor lacks", title: "Capabilities that Bochs' model has beyond ours, which its capability MSRs tell; Entry to SMM, which Bochs reports as invalid guest state",
    round: (ours) => ours.outcome.reason === BAD_CONTROLS && ours.fields.some(([field, value]) => (absent.get(field) ?? 0n) & value) },
  { name: "40 bits of physical address", title: "Bochs has one bit more than CPUID of the model says",
    round: (ours) => failed(ours) && ours.fields.some(([field, value]) => addresses.has(field) && value >> 39n === 1n) },
  { name: "reserved bits of IA32_DEBUGCTL", title: "\"Checks on Guest Control Registers, Debug Registers, and MSRs\": Bochs does not look",
    round: (ours) => ours.outcome.reason === INVALID_GUEST && has(ours, F.debugctl, (value) => value & ~3n) },
  { name: "upper bits of the pending debug exceptions, and BS among them", title: "\"Checks on Guest Non-Register State\": Bochs looks at the lower half and not at BS",
    round: (ours) => ours.outcome.reason === INVALID_GUEST && has(ours, F.pending) },
  { name: "RIP that is not canonical", title: "\"Checks on Guest RIP, RFLAGS, and SSP\": Bochs does not look",
    round: (ours) => ours.outcome.reason === INVALID_GUEST && has(ours, F.rip, (value) => BigInt.asIntN(48, value) !== BigInt.asIntN(64, value)) },
  { name: "RPL of CS in an unrestricted guest", title: "\"Checks on Guest Segment Registers\": it is that of SS only in others",
    round: (ours) => ours.kind === REAL && has(ours, F.cs, (value) => value & 3n) },
  { name: "error codes without CR0.PE in a guest that is not unrestricted", title: "\"VM-Entry Control Fields\": there are none; older manuals, and Bochs, say so of unrestricted guests only, and such an entry fails later",
    round: (ours, theirs) => ours.kind === REAL && ours.outcome.reason === BAD_CONTROLS && theirs.outcome.reason === INVALID_GUEST },
  { name: "the link pointer before other checks", title: "\"Checks on the Guest State Area\": any order is allowed",
    round: (ours, theirs) => ours.outcome.reason === INVALID_GUEST && (theirs.outcome.reason & 0x8000ffffn) === INVALID_GUEST && has(ours, F.link) },
  { name: "a virtual-APIC page outside of RAM", title: "what a device there answers is nobody's rule",
    round: (ours) => has(ours, F.virtualApic, (value) => value >= 0x4000000n || (value >= 0xa0000n && value < 0x100000n)) },
  { name: "RF of a fault that exits", title: "\"Saving RIP, RSP, RFLAGS, and SSP\": 1, as in the frame that the fault would have pushed; Bochs leaves it as it was",
    field: (field, ours, theirs) => field === F.rflags && ours.outcome.reason === 0n && ours.after.has(field) &&
      (ours.after.get(field) ^ (theirs.after.get(field) ?? ours.after.get(field) ^ 0x10000n)) === 0x10000n },
  { name: "RF of double and triple faults", title: "\"Saving RIP, RSP, RFLAGS, and SSP\" does not say what it is",
    field: (field, ours) => field === F.rflags && (ours.outcome.reason === 2n || vectorOf(ours) === 8n) },
  { name: "the type of CS in real-address mode", title: "\"Saving Segment Registers and Descriptor-Table Registers\": as the register has it; Bochs makes it data",
    field: (field, ours) => field === F.csRights && ours.kind === REAL },
  { name: "rights of segments that cannot be used", title: "\"Saving Segment Registers and Descriptor-Table Registers\": undefined but for the bit that says so",
    field: (field, ours, theirs) => field >= F.rights && field < F.rights + 16 && ((ours.after.get(field) ?? theirs.after.get(field)) & 0x10000n) !== 0n },
  { name: "an NMI where virtual NMIs are blocked", title: "\"Checks on Guest Non-Register State\": Bochs does not look",
    round: (ours) => ours.outcome.reason === INVALID_GUEST && has(ours, F.interruptibility, (value) => value & 8n) },
  { name: "events that the HLT state cannot take", title: "\"Checks on Guest Non-Register State\": Bochs does not look",
    round: (ours) => ours.outcome.reason === INVALID_GUEST && has(ours, F.activity, (value) => value === 1n) },
  { name: "the VMX-preemption timer where MOV SS blocks", title: "\"VMX-Preemption Timer\": such blocking is not among what it waits for",
    round: (ours) => ours.outcome.reason === 0x34n && has(ours, F.interruptibility, (value) => value & 2n) },
  { name: "the monitor trap flag", title: "\"Monitor Trap Flag\": Bochs 2.7 knows it only as an injected event",
    round: (ours) => ours.outcome.reason === 0x25n && has(ours, F.primary) },
  { name: "NMI windows, with the blocking that Bochs keeps", title: "\"Loading Guest Non-Register State\"",
    round: (ours, theirs) => ours.outcome.reason === 8n && (theirs.after.get(F.interruptibility) & 8n) !== 0n },
  { name: "error codes in real-address mode", title: "\"Information for VM Exits Due to Vectored Events\": there are none",
    round: (ours, theirs) => ours.kind === REAL && !failed(ours) && !failed(theirs) && (ours.outcome.interruption ^ theirs.outcome.interruption) === 0x800n },
  { name: "blocking by MOV SS at the delivery of an injected event", title: "what is saved when that exits is left open",
    field: (field, ours) => field === F.interruptibility && has(ours, field, (value) => value & 3n) && ours.outcome.vectoring !== 0n },
  { name: "blocking by virtual NMIs", title: "\"Loading Guest Non-Register State\": as the field has it; Bochs keeps what an earlier guest was left with",
    field: (field, ours, theirs) => field === F.interruptibility && (ours.shape >> withNmis & 1 || has(ours, F.pin)) && theirs.after.get(field) === ((ours.after.get(field) ?? valueOf(ours, field)) | 8n) },
  { name: "RIP behind 4 GBytes outside of IA-32e mode", title: "an injected event that comes with the length of an instruction: Bochs adds in 64 bits",
    field: (field, ours, theirs) => field === F.rip && theirs.after.get(field) === ((ours.after.get(field) ?? 0n) | 1n << 32n) },
  { name: "a step that is pending behind an instruction that exits", title: "\"Saving Non-Register State\": none is but behind a MOV SS",
    field: (field, ours, theirs) => field === F.pending && !ours.after.has(field) && theirs.after.get(field) === 0x4000n && has(ours, F.rflags, (value) => value & 0x100n) },
  { name: "an enabled breakpoint of which no bit tells", title: "\"Delivery of Pending Debug Exceptions after VM Entry\": bit 12 is enough",
    round: (ours) => vectorOf(ours) === 1n && has(ours, F.pending, (value) => (value & 0x400fn) === 0n && value & 0x1000n) },
  { name: "bit 13 of system segments' rights", title: "\"Saving Segment Registers and Descriptor-Table Registers\": only bits 31:17 and 11:8 are cleared",
    field: (field, ours, theirs) => (field === F.trRights || field === F.ldtrRights) && ((ours.after.get(field) ?? valueOf(ours, field)) ^ theirs.after.get(field)) === 0x2000n },
  { name: "bits 11 and 12 of DR7", title: "\"Loading Guest Control Registers, Debug Registers, and MSRs\": 12 is always 0; 11 is RTM's, which this processor lacks",
    field: (field, ours, theirs) => field === F.dr7 && (((ours.after.get(field) ?? valueOf(ours, field)) ^ (theirs.after.get(field) ?? valueOf(ours, field))) & ~0x1800n) === 0n },
];

// What stands in the way of equality: [] if nothing, otherwise the names of explanations, or null if there is none.
export function explain(ours, theirs) {
  const fields = new Set([...ours.after.keys(), ...theirs.after.keys()].filter((field) => ours.after.get(field) !== theirs.after.get(field)));
  const outcome = Object.keys(ours.outcome).some((key) => ours.outcome[key] !== theirs.outcome[key]);
  if (!outcome && fields.size === 0) return [];
  const whole = explanations.find(({ round }) => round?.(ours, theirs));
  if (whole) return [whole.name];
  if (outcome) return null;
  const names = new Set();
  for (const field of fields) {
    const found = explanations.find((explanation) => explanation.field?.(field, ours, theirs));
    if (!found) return null;
    names.add(found.name);
  }
  return [...names];
}

// The rounds from `first` on, as an engine sees them.
export function runRounds(engine, first, { count = portion, seed = 1, permuted = false } = {}) {
  const options = [`FIRST=${first}`, `ROUNDS=${count}`, `SEED=${seed}`, ...(permuted ? ["PERMUTED"] : [])];
  const image = assembleFile("mutations/mutations", `mutations-${options.join("-")}`, options.flatMap((option) => ["-D", option]));
  return roundsOf(output(engine, image));
}
