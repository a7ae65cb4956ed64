// From start to the line that comes before the prompt, and what the page's main thread has to wait meanwhile.
import { heading, milliseconds, ratio, row, summary } from "./figures.mjs";
import { image } from "./guests.mjs";
import { matryoshka, qemu, v86 } from "./machines.mjs";

const MARKS = { goal: 1.3, ofTcg: 1.8, ofV86: 0.5, startup: 1.15, pause: 50 };

export async function measureBoot({ rounds, seconds, chromium, verdicts }) {
  const small = { 64: image(64), 32: image(32) };
  const machines = [
    ["Chromium", 64, chromium.page], ["Node", 64, matryoshka()], ["Node interpreter", 64, matryoshka("--engine", "interp")],
    ["QEMU TCG", 64, qemu], ["Node", 32, matryoshka()], ["QEMU TCG", 32, qemu], ["v86", 32, v86(true)],
  ];
  const all = { 64: {}, 32: {} }, pauses = [];
  for (let round = 0; round < rounds; ++round)
    for (const [name, bits, machine] of machines) {
      const run = await machine(small[bits], { until: /INIT-READY/, seconds });
      if (!run.ok) console.error(`${name}, ${bits} bits: no prompt. ${run.complaint}`);
      else (all[bits][name] ??= []).push(run.matches[0]);
      if (run.ok && run.pause !== undefined) pauses.push(run.pause);
    }
  // Programs that are typed into the page, so that the terminal has work too.
  const busy = [];
  for (let round = 0; round < rounds; ++round) {
    const run = await chromium.page(image(64, { bench: true }),
      { type: [[/^~ # /, "/bench/run 1 sieve compile lua\n"]], until: /^BENCH lua/, seconds });
    if (run.ok) busy.push(run.pause);
  }

  const figures = Object.fromEntries(Object.entries(all).map(([bits, byMachine]) =>
    [bits, Object.fromEntries(Object.entries(byMachine).map(([name, ms]) => [name, summary(ms)]))]));
  for (const bits of [64, 32]) {
    const names = Object.keys(figures[bits]);
    heading(`Boot of the small ${bits}-bit Linux to its prompt: host milliseconds, median (least-most) of ${rounds}`);
    row("", names);
    row("ms", names.map((name) => milliseconds(figures[bits][name])));
    row("to QEMU TCG", names.map((name) => ratio(figures[bits][name].median / figures[bits]["QEMU TCG"]?.median)));
  }
  const boot = (bits, name) => figures[bits][name]?.median;
  const toTcg = boot(64, "Chromium") / boot(64, "QEMU TCG");
  verdicts.most("boot in Chromium, times QEMU TCG's", toTcg, MARKS.ofTcg);
  verdicts.most("boot in Chromium, times QEMU TCG's (the goal)", toTcg, MARKS.goal);
  verdicts.most("boot in Chromium, times that of v86's 32-bit twin", boot(64, "Chromium") / boot(32, "v86"), MARKS.ofV86);
  verdicts.most("boot with the JIT, times that of the interpreter alone, in Node", boot(64, "Node") / boot(64, "Node interpreter"), MARKS.startup);
  const pause = { boot: pauses.length ? summary(pauses) : null, programs: busy.length ? summary(busy) : null };
  verdicts.most("longest pause of the page during boot, ms (median of the runs)", pause.boot?.median, MARKS.pause, 0);
  verdicts.most("longest pause of the page during programs, ms (median of the runs)", pause.programs?.median, MARKS.pause, 0);
  return { milliseconds: figures, pauses: pause };
}
