#include "devices/machine/inspector_tree.h"

#include <algorithm>
#include <cstring>

#include "cpu/processor.h"
#include "devices/machine/inspector_text.h"
#include "vmx-model/describe.h"

namespace matryoshka {

using namespace vmx;

namespace {

// So few that a guest which opens the file over and over costs the host little.
constexpr uint64_t listed_events = 100;

constexpr unsigned payload_bits = 57;
constexpr uint64_t payload_mask = (uint64_t{1} << payload_bits) - 1;

// Fixed places: the directories, the files of the root, and the directories of walks by layer.
constexpr uint64_t top = 1, vmcs_directory = 2, walk_directory = 3, first_file = 16, first_layer = 64;
constexpr unsigned most_layers = 9;
// What a VMCS has: itself, six groups, its state, its fields.
constexpr unsigned first_group = 1, state_item = 7, first_field = 16;

// After "." and "..", which have 1 and 2.
constexpr uint64_t first_cookie = 3;
constexpr uint64_t cookie_of_current = first_cookie, cookie_of_last_exit = first_cookie + 1, cookie_of_page = 16;

uint64_t sign_extended(uint64_t payload) { return payload >> (payload_bits - 1) & 1 ? payload | ~payload_mask : payload; }

}  // namespace

const InspectorTree::File InspectorTree::files_[] = {
    {"README", &InspectorTree::read_me}, {"layers", &InspectorTree::layers},
    {"exits", &InspectorTree::exits},    {"exits-by-reason", &InspectorTree::exits_by_reason},
    {"why", &InspectorTree::why},        {"why-fail", &InspectorTree::why_fail},
    {"regs", &InspectorTree::registers},
};
const unsigned InspectorTree::file_count_ = sizeof files_ / sizeof files_[0];

// ---- Places

InspectorTree::Place::Place(Node node) : kind(static_cast<uint8_t>(node >> payload_bits)), value(node & payload_mask) {}

FileTree::Node InspectorTree::Place::node() const { return uint64_t{kind} << payload_bits | (value & payload_mask); }

bool InspectorTree::is_directory(const Place& place) const {
  if (place.is_vmcs()) return place.item() < state_item;
  return place.kind == Place::fixed && (place.value < first_file || place.value >= first_layer);
}

// The fields of a VMCS that there is, or null.
const uint64_t* InspectorTree::fields(const Place& place) const {
  const Vmx& vmx = cpu_.vmx;
  if (place.kind == Place::current_vmcs) return vmx.current() ? vmx.current()->fields : nullptr;
  if (place.kind == Place::last_exit) {
    const TraceEvent* e = last_event(vmx.trace, TraceEvent::exit);
    const ExitCopy* copy = e ? vmx.trace.find_copy(e->number) : nullptr;
    return copy ? copy->fields : nullptr;
  }
  const Vmcs* v = active_vmcs(vmx, place.address());
  return v ? v->fields : nullptr;
}

bool InspectorTree::exists(const Place& place) const {
  if (place.is_vmcs()) {
    const unsigned item = place.item(), field = item - first_field;
    if (item > state_item && (item < first_field || field >= field_count)) return false;
    if (item >= first_field && !cpu_.vmx.capabilities().has(static_cast<Field>(field))) return false;
    if (place.kind != Place::some_vmcs && place.address() != 0) return false;
    return fields(place) != nullptr;
  }
  if (place.kind >= Place::walk) return place.kind <= Place::walk + most_layers;
  if (place.value >= first_layer) return place.value > first_layer && place.value <= first_layer + most_layers;
  return place.value == top || place.value == vmcs_directory || place.value == walk_directory ||
         (place.value >= first_file && place.value < first_file + file_count_);
}

// ---- Names

// The first child behind a cookie. What stands in a table has its place there as cookie, and a VMCS its page's number.
bool InspectorTree::next_child(const Place& parent, uint64_t cookie, uint64_t& next, std::string& name, Node& child) const {
  auto answer = [&](uint64_t found, std::string called, const Place& place) {
    next = found, name = std::move(called), child = place.node();
    return true;
  };
  const uint64_t from = std::max(cookie + 1, first_cookie);
  if (parent.is_vmcs() && parent.item() == 0) {
    const uint64_t item = from - first_cookie + first_group;
    if (item > state_item) return false;
    const std::string called = item == state_item ? "state" : file_name(static_cast<ManualGroup>(item - first_group));
    return answer(from, called, {parent.kind, parent.value + item});
  }
  if (parent.is_vmcs()) {
    for (uint64_t i = from - first_cookie; i < field_count; ++i) {
      const auto f = static_cast<Field>(i);
      if (static_cast<unsigned>(manual_group(f)) != parent.item() - first_group || !cpu_.vmx.capabilities().has(f)) continue;
      return answer(i + first_cookie, file_name(f), {parent.kind, parent.value - parent.item() + first_field + i});
    }
    return false;
  }
  if (parent.value == top) {
    const uint64_t i = from - first_cookie;
    if (i < file_count_) return answer(from, files_[i].name, {Place::fixed, first_file + i});
    if (i == file_count_) return answer(from, "vmcs", {Place::fixed, vmcs_directory});
    return i == file_count_ + 1 && answer(from, "walk", {Place::fixed, walk_directory});
  }
  if (parent.value == walk_directory) {
    for (uint64_t depth = from - first_cookie + 1; depth <= most_layers; ++depth)
      if (walk_root(cpu_, static_cast<unsigned>(depth)))
        return answer(depth + first_cookie - 1, "L" + std::to_string(depth), {Place::fixed, first_layer + depth});
    return false;
  }
  if (parent.value != vmcs_directory) return false;
  if (from <= cookie_of_current && exists({Place::current_vmcs, 0}))
    return answer(cookie_of_current, "current", {Place::current_vmcs, 0});
  if (from <= cookie_of_last_exit && exists({Place::last_exit, 0}))
    return answer(cookie_of_last_exit, "last-exit", {Place::last_exit, 0});
  const Vmcs* found = nullptr;
  for (const auto& v : cpu_.vmx.active().all())
    if ((v->address >> 12) + cookie_of_page >= from && (!found || v->address < found->address)) found = v.get();
  return found && answer((found->address >> 12) + cookie_of_page, hexadecimal(found->address),
                         {Place::some_vmcs, found->address >> 12 << 9});
}

FileError InspectorTree::find(Node node, const std::string& name, Node& found) {
  const Place parent(node);
  if (!exists(parent)) return FileError::stale;
  if (!is_directory(parent)) return FileError::not_directory;
  const bool of_layer = parent.kind == Place::fixed && parent.value > first_layer;
  if (uint64_t address; (of_layer || node == Place(Place::fixed, walk_directory).node()) && read_address(name, address)) {
    if (sign_extended(address & payload_mask) != address) return FileError::no_entry;
    found = Place(static_cast<uint8_t>(Place::walk + (of_layer ? parent.value - first_layer : 0)), address).node();
    return FileError::none;
  }
  if (uint64_t address; node == Place(Place::fixed, vmcs_directory).node() && read_address(name, address)) {
    if (!active_vmcs(cpu_.vmx, address)) return FileError::no_entry;
    found = Place(Place::some_vmcs, address >> 12 << 9).node();
    return FileError::none;
  }
  std::string called;
  for (uint64_t cookie = 0; next_child(parent, cookie, cookie, called, found);)
    if (called == name) return FileError::none;
  return FileError::no_entry;
}

FileError InspectorTree::next_entry(Node node, uint64_t cookie, Entry& entry) {
  const Place parent(node);
  if (!exists(parent)) return FileError::stale;
  if (!is_directory(parent)) return FileError::not_directory;
  if (cookie < first_cookie - 1) {
    Place above(Place::fixed, top);
    if (parent.is_vmcs())
      above = parent.item() ? Place(parent.kind, parent.value - parent.item()) : Place(Place::fixed, vmcs_directory);
    if (parent.kind == Place::fixed && parent.value > first_layer) above = Place(Place::fixed, walk_directory);
    entry = {cookie == 0 ? node : above.node(), directory, cookie + 1, cookie == 0 ? "." : ".."};
    return FileError::none;
  }
  if (cookie == ~uint64_t{0} || !next_child(parent, cookie, entry.cookie, entry.name, entry.node)) return FileError::no_entry;
  entry.mode = is_directory(Place(entry.node)) ? directory : regular;
  return FileError::none;
}

// ---- Contents

FileError InspectorTree::open(Node node, bool to_write, std::optional<std::vector<uint8_t>>& made) {
  const Place place(node);
  if (!exists(place)) return FileError::stale;
  if (to_write) return FileError::read_only;
  if (is_directory(place)) return FileError::none;
  const std::string all = text(place);
  made.emplace(all.begin(), all.end());
  return FileError::none;
}

FileError InspectorTree::read(Node node, uint64_t offset, std::span<uint8_t> bytes, size_t& count) {
  std::optional<std::vector<uint8_t>> made;
  if (FileError error = open(node, false, made); error != FileError::none) return error;
  if (!made) return FileError::is_directory;
  count = offset < made->size() ? std::min<uint64_t>(bytes.size(), made->size() - offset) : 0;
  if (count != 0) std::memcpy(bytes.data(), made->data() + offset, count);
  return FileError::none;
}

FileError InspectorTree::attributes(Node node, Attributes& a) {
  const Place place(node);
  if (!exists(place)) return FileError::stale;
  a = {};
  const bool holds = is_directory(place);
  a.mode = holds ? directory | 0555u : regular | 0444u;
  a.links = holds ? 2 : 1;
  if (!holds) a.size = text(place).size();
  a.accessed = a.modified = a.changed = now_();
  return FileError::none;
}

std::string InspectorTree::text(const Place& file) const {
  if (file.is_vmcs()) return vmcs_text(file);
  if (file.kind >= Place::walk) return walk_text(file);
  return (this->*files_[file.value - first_file].text)();
}

std::string InspectorTree::vmcs_text(const Place& file) const {
  if (file.item() == state_item) {
    if (file.kind == Place::last_exit) return event_line(*last_event(cpu_.vmx.trace, TraceEvent::exit));
    const uint64_t address = file.kind == Place::current_vmcs ? cpu_.vmx.current()->address : file.address();
    return hexadecimal(address) + "  " + layer_name(depth_of(cpu_.vmx, address)) + ", " + vmcs_state(cpu_.vmx, address) + "\n";
  }
  const auto f = static_cast<Field>(file.item() - first_field);
  const uint64_t value = fields(file)[file.item() - first_field];
  return number_with_words(value, describe_field(f, value)) + "\n";
}

std::string InspectorTree::walk_text(const Place& file) const {
  const uint64_t linear = sign_extended(file.value);
  unsigned depth = file.kind - Place::walk;
  if (depth == 0) {
    const Vmcs* v = cpu_.vmx.current();
    return v ? layer_walk_text(cpu_, depth_of(cpu_.vmx, v->address), guest_walk_root(cpu_, *v), linear) : no_current_vmcs;
  }
  const std::optional<WalkRoot> root = walk_root(cpu_, depth);
  return root ? layer_walk_text(cpu_, depth, *root, linear) : "There is no such layer, or its VMCS is clear.\n";
}

std::string InspectorTree::read_me() const {
  return "What this machine knows of the VM entries and exits in it. Each file is made when it is opened.\n"
         "\n"
         "  layers             who runs whom: L1 is the machine's own system, L2 its guest, L3 that one's\n"
         "  exits              the last " +
         std::to_string(listed_events) +
         " VM entries and exits\n"
         "  exits-by-reason    how many there were\n"
         "  why                what caused the last exit\n"
         "  why-fail           which checks the last failed entry did not pass\n"
         "  regs               the registers that the current VMCS keeps of its guest\n"
         "  vmcs/current/      the current VMCS: a folder for each group, a file for each field, `state`\n"
         "  vmcs/last-exit/    the same as it stood right after the last exit\n"
         "  vmcs/ADDRESS/      another VMCS that is active\n"
         "  walk/ADDRESS       how the current VMCS's guest translates an address (hexadecimal), level by level\n"
         "  walk/L1/ADDRESS    the same for the layer\n"
         "\n"
         "Try: watch -n 1 head -n 8 exits-by-reason; cat vmcs/current/guest-state/rip; cat walk/$(cut -d' ' -f1 "
         "vmcs/current/guest-state/rip)\n";
}

std::string InspectorTree::layers() const { return layers_text(cpu_.vmx); }
std::string InspectorTree::exits() const { return exits_text(cpu_.vmx.trace, listed_events); }
std::string InspectorTree::exits_by_reason() const { return reasons_text(cpu_.vmx.trace); }
std::string InspectorTree::why() const { return why_exit_text(cpu_.vmx); }
std::string InspectorTree::why_fail() const { return why_fail_text(cpu_.vmx); }

std::string InspectorTree::registers() const {
  const Vmcs* v = cpu_.vmx.current();
  return v ? layer_name(depth_of(cpu_.vmx, v->address)) + ", as its VMCS keeps it:\n" + kept_registers_text(*v, false)
           : no_current_vmcs;
}

}  // namespace matryoshka
