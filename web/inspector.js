// The panes beside the terminal: who runs whom, the exits, the VMCS, a walk. They show what machine.panes() and the monitor's
// commands answer and know nothing themselves, so whatever the monitor calls a thing stands here under the same name.

import { number, text } from "./strings.js";

const UPDATE_MS = 300;

const element = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// Nodes for rows of data, each kept as long as its key is there: a button that has the focus keeps it.
class Rows {
  #parent;
  #nodes = new Map();

  constructor(parent) {
    this.#parent = parent;
  }
  // `build(row)` answers a node with a method update(row).
  show(data, key, build) {
    const keys = new Set(data.map(key));
    for (const [name, node] of this.#nodes)
      if (!keys.has(name)) {
        node.remove();
        this.#nodes.delete(name);
      }
    data.forEach((row, i) => {
      let node = this.#nodes.get(key(row));
      if (!node) this.#nodes.set(key(row), (node = build(row)));
      node.update(row);
      if (this.#parent.children[i] !== node) this.#parent.insertBefore(node, this.#parent.children[i] ?? null);
    });
  }
  clear() {
    this.show([], String, null);
  }
}

function setText(node, words) {
  if (node.textContent !== words) node.textContent = words;
}

const badge = (depth) => make("span", { class: "badge", "data-layer": Math.min(depth, 4) }, `L${depth}`);

function layerRow(layer) {
  const words = make("span"), state = make("span", { class: "soft" });
  const node = make("div", { role: "listitem", class: "layer" }, badge(layer.depth), words, state);
  node.update = ({ name, running, state: of, vmcs, exits }) => {
    node.classList.toggle("running", running);
    setText(words, name.replace(/^L\d+ ?/, "") + (running ? ` — ${text("inspector.runs")}` : ""));
    setText(state, vmcs ? text("inspector.layer", { vmcs, state: of, exits: number(exits) }) : of);
  };
  return node;
}

function reasonRow() {
  const title = make("th", { scope: "row" }), count = make("td", { class: "number" });
  const node = make("tr", {}, title, count);
  node.update = (row) => {
    setText(title, row.title);
    setText(count, number(row.count));
  };
  return node;
}

function eventRow(event, why) {
  const button = make("button", { type: "button", class: "why", onclick: () => why(event.number) });
  const spent = make("td", { class: "number" });
  const what = event.what || event.cause ? [make("small", {}, [event.what, event.cause].filter(Boolean).join(" · "))] : [];
  const node = make("tr", { class: event.kind }, make("td", {}, badge(event.layer)), make("td", {}, event.title, ...what), spent, make("td", {}, button));
  node.update = () => {
    setText(spent, number(event.spent));
    setText(button, text("inspector.why", { number: event.number }));
  };
  return node;
}

function fieldRow({ title, encoding }) {
  const value = make("code"), words = make("small"), changed = make("small", { class: "before" });
  const node = make("tr", {}, make("th", { scope: "row" }, title, make("small", {}, encoding)), make("td", {}, value, changed, words));
  node.update = (field) => {
    node.classList.toggle("changed", field.before !== undefined);
    setText(value, field.value);
    setText(words, field.words);
    setText(changed, field.before === undefined ? "" : text("inspector.changed", { before: field.before }));
  };
  return node;
}

function groupRow(group) {
  const title = make("span"), note = make("span", { class: "soft" }), body = make("tbody");
  const fields = new Rows(body);
  const node = make("details", {}, make("summary", {}, title, " ", note), make("table", { class: "fields" }, body));
  node.update = ({ title: name, fields: rows }) => {
    setText(title, name);
    const changed = rows.filter(({ before }) => before !== undefined).length;
    setText(note, changed ? text("inspector.changes", { count: number(changed) }) : "");
    // The rows of a group that is shut are made when it opens.
    if (node.open) fields.show(rows, (row) => row.encoding, fieldRow);
  };
  return node;
}

// `machine()` answers the machine, or null; `why(number)` asks the monitor; `startGuest()` types the command that starts one.
export function mountInspector({ machine, why, startGuest }) {
  const panel = element("inspector"), toggle = element("to-inspector");
  const parts = {
    layers: new Rows(element("layers")), reasons: new Rows(element("reasons")), events: new Rows(element("events")), groups: new Rows(element("groups")),
  };
  const hovers = matchMedia("(hover: hover)");
  let timer = null, busy = false, shownAt = null, panes = null;

  // A list that somebody points at, or walks through by keys, stands still while the machine runs.
  const pointedAt = (node) => node.matches(":focus-within") || (hovers.matches && node.matches(":hover"));
  const still = () => machine()?.state === "running" && pointedAt(element("events"));

  function render() {
    // An entry that failed has entered no guest, and still is something to look at.
    const started = panes.events.length > 0;
    element("no-guest").hidden = started;
    element("guests").hidden = !started;
    parts.layers.show([{ depth: 0, name: `L0 ${text("inspector.machine")}`, state: "", running: false }, ...panes.layers], (row) => row.vmcs ?? row.depth, layerRow);
    if (!started) return;
    const { reasons, events, entries, failedEntries, vmcs } = panes;
    setText(element("entries"), text("inspector.entries", { entries: number(entries), failed: number(failedEntries) }));
    parts.reasons.show(reasons.toSorted((a, b) => b.count - a.count || a.number - b.number), (row) => row.number, reasonRow);
    if (!still()) parts.events.show(events, (row) => row.number, (event) => eventRow(event, why));
    setText(element("vmcs-of"), vmcs
      ? text(vmcs.since === undefined ? "inspector.vmcs" : "inspector.vmcs-since", { address: vmcs.address, layer: `L${vmcs.layer}`, since: vmcs.since })
      : text("inspector.no-vmcs"));
    parts.groups.show(vmcs?.groups ?? [], (group) => group.title, groupRow);
  }

  async function update() {
    if (busy || panel.hidden || document.hidden || !machine()) return;
    busy = true;
    try {
      const asked = machine();
      const next = await asked.panes();
      if (asked !== machine() || panel.hidden) return;
      panes = next;
      if (shownAt !== panes.tick) render();
      shownAt = still() ? null : panes.tick;
    } catch {
      // A machine that has failed says so elsewhere.
    } finally {
      busy = false;
    }
  }

  function open(on) {
    panel.hidden = !on;
    document.body.classList.toggle("inspecting", on);
    toggle.setAttribute("aria-expanded", String(on));
    clearInterval(timer);
    timer = on ? setInterval(update, UPDATE_MS) : null;
    shownAt = null;
    if (on) update();
  }

  toggle.addEventListener("click", () => open(panel.hidden));
  element("start-guest").addEventListener("click", startGuest);
  // toggle does not bubble.
  element("groups").addEventListener("toggle", () => panes && render(), { capture: true });
  element("walk-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const layer = element("walk-layer").value;
    const answer = await machine()?.monitor(`walk ${element("walk-address").value.replaceAll(/\s/g, "")} ${layer}`.trim()).catch((error) => error.message);
    element("walk-answer").hidden = !answer;
    setText(element("walk-answer"), answer ?? "");
  });

  return {
    // Another language, or another machine.
    refresh() {
      for (const rows of Object.values(parts)) rows.clear();
      element("walk-answer").hidden = true;
      shownAt = null;
      if (panes) render();
      update();
    },
    forget() {
      panes = null;
      element("guests").hidden = true;
      element("no-guest").hidden = false;
      for (const rows of Object.values(parts)) rows.clear();
      shownAt = null;
    },
  };
}
