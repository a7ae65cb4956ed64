// The kernels find nothing to complain about on any processor model.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

// name -> its features and the models that it builds on
const models = new Map(
  readFileSync(`${root}cpu/models.def`, "utf8").split(/^MODEL\(/m).slice(1).map((text) => {
    const strings = [...text.matchAll(/"([^"]*)"/g)].map((match) => match[1]);
    return [strings[0], strings.slice(3).join(" ").split(/\s+/)];
  }),
);
const has = (model, feature) => models.get(model).some((word) => word === feature || (models.has(word) && has(word, feature)));

// True of each such processor under a kernel without PAE, and nothing that the machine could mend.
const l1tf = "L1TF: Kernel not compiled for PAE. No mitigation for L1TF";

describe("models", () => {
  for (const model of models.keys())
    for (const bits of [64, 32]) {
      if (bits === 64 && !has(model, "LM")) continue;
      test(`-cpu ${model}: the ${bits}-bit kernel has nothing to complain about`, () => {
        const { status, stdout, stderr } = spawnSync(`${root}matryoshka`, ["--native", "--clock", "virtual", "-cpu", model, "-m", "128M", "-kernel", `${root}build/guest/bzImage${bits}`,
          "-initrd", `${root}build/guest/initrd${bits}.lz4`, "-append", "console=ttyS0 quiet cmd=dmesg,-r"], { encoding: "utf8", input: "", timeout: 300_000 });
        assert.equal(status, 0, stderr);
        const log = stdout.replaceAll("\r", "").match(/^<\d+>.*/gm) ?? [];
        assert.ok(log.length > 50, "no kernel messages came");
        // Levels 0 to 4 are "warning" and worse.
        const warnings = log.filter((line) => /^<[0-4]>/.test(line)).map((line) => line.replace(/^<\d+>\[[ .\d]*\] /, ""));
        assert.deepEqual(warnings, bits === 32 && !has(model, "ARCH_CAPABILITIES") ? [l1tf] : []);
        assert.deepEqual(log.filter((line) => /unchecked MSR access|perfctr|Broken PMU/.test(line)), []);
      });
    }
});
