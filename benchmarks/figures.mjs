// Arithmetic of figures, how they are printed, and marks with their verdicts.

export const median = (numbers) => {
  const sorted = [...numbers].sort((a, b) => a - b), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};
export const geometricMean = (numbers) => Math.exp(numbers.reduce((sum, n) => sum + Math.log(n), 0) / numbers.length);

// What is kept of the rounds: all of them are in `rounds`.
export const summary = (rounds) => ({ median: median(rounds), least: Math.min(...rounds), most: Math.max(...rounds), rounds });

const rounded = (value, digits) => (value === undefined || Number.isNaN(value) ? "-" : value.toFixed(digits));
export const ratio = (value) => rounded(value, 2);
export const milliseconds = (figure) => (figure ? `${rounded(figure.median, 0)} (${rounded(figure.least, 0)}-${rounded(figure.most, 0)})` : "-");

// `widths` is one for all cells, or one for each.
export function row(first, cells, widths = 22) {
  console.log(String(first).padEnd(14) + cells.map((cell, i) => String(cell).padStart(widths[i] ?? widths)).join(""));
}
export function heading(text) {
  console.log(`\n${text}`);
}

// What is to be reached, with what was measured: printed where it is found, and all of them again at the end.
export class Verdicts {
  all = [];
  #add(what, value, mark, met, shown) {
    const known = Number.isFinite(value);
    const verdict = { what, value: known ? Number(value.toFixed(3)) : null, mark, verdict: known ? (met ? "met" : "short") : "not measured" };
    this.all.push(verdict);
    console.log(`  ${verdict.verdict.padEnd(12)} ${what}: ${known ? shown : "-"}, mark ${mark}`);
  }
  least(what, value, mark, digits = 2) {
    this.#add(what, value, `at least ${mark}`, value >= mark, rounded(value, digits));
  }
  most(what, value, mark, digits = 2) {
    this.#add(what, value, `at most ${mark}`, value <= mark, rounded(value, digits));
  }
  // A mark that each of several has to reach; those that do not are named.
  each(what, values, mark) {
    const short = Object.entries(values).filter(([, value]) => !(value >= mark)).sort((a, b) => a[1] - b[1]);
    const least = Math.min(...Object.values(values));
    this.#add(what, least, `each at least ${mark}`, short.length === 0,
      short.length ? short.map(([name, value]) => `${name} ${rounded(value, 2)}`).join(", ") : `least ${rounded(least, 2)}`);
  }
}
