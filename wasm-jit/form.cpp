// Which code becomes a region: breadth first from the entry, along edges that the interpreter has seen taken.
#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <map>
#include <optional>

#include "cpu/decode.h"
#include "cpu/isa.h"
#include "wasm-jit/recorder.h"
#include "wasm-jit/region.h"
#include "wasm-jit/vector_step.h"

namespace matryoshka::jit {

namespace {

constexpr unsigned most_pages = 4, most_call_depth = 4, longest_instruction = 15;
constexpr uint64_t rarest = 256;  // an edge taken less often than once in so many runs of the entry stays outside

bool is_relative_branch(unsigned row) { return operands_of(row).operand[0].kind == OperandClass::relative; }

// The text of a row ends with what it does to RIP; how, is read off a recording.
enum class Flow : uint8_t { on, jump, branch, leave };

// Rows of kind leave that change neither the mode nor any mapping, and no general register but EAX, ECX and EDX.
bool goes_on(const Row& row) {
  for (std::string_view name : {"CLI", "STI", "SWAPGS", "PAUSE", "RDTSC", "RDTSCP"})
    if (name == row.mnemonic) return true;
  return false;
}

struct Decoded {
  Step step;
  Flow flow = Flow::on;
  bool relative = false, call = false, ret = false;
  int64_t target = 0;
};

class Former {
 public:
  Former(const Processor& cpu, const SlowSites& slow, unsigned most_instructions, Region& region)
      : cpu_(cpu),
        slow_(slow),
        region_(region),
        most_instructions_(most_instructions),
        entry_(cpu.state.rip),
        mode_(cpu.mode()) {}

  bool run(const Block& entry) {
    region_.key = {entry.physical, entry.mode};
    region_.mode = mode_;
    if (!mode_.flat_code || !mode_.flat_data || mode_.code_bits == 16 || mode_.stack_bits == 16 ||
        mode_.stack_bits != mode_.code_bits)
      return false;
    entry_runs_ = runs(entry);
    contexts_.push_back({});
    add_leader({0, 0});
    while (!waiting_.empty()) {
      Place place = waiting_.front();
      waiting_.pop_front();
      decode_from(place);
    }
    if (!steps_.count({0, 0})) return false;
    build_nodes();
    return true;
  }

 private:
  // A place in the code, and by which calls it was reached.
  struct Place {
    unsigned context;
    int64_t distance;
    auto operator<=>(const Place&) const = default;
  };
  struct Context {
    Place returns_to{};
    unsigned depth = 0;
  };

  uint64_t linear(int64_t distance) const {
    uint64_t address = entry_ + static_cast<uint64_t>(distance);
    return mode_.code_bits == 64 ? address : static_cast<uint32_t>(address);
  }

  // The page that holds this place, entered in the region's list; nothing if it is not at hand.
  struct Page {
    const uint8_t* host;
    size_t index;  // in Region::pages, which may grow
  };
  std::optional<Page> page_at(int64_t distance) {
    int64_t offset = static_cast<int64_t>(entry_ & (page_size - 1)) + distance;
    int64_t delta = offset >> 12;
    for (size_t i = 0; i < region_.pages.size(); ++i)
      if (region_.pages[i].delta == delta) return Page{hosts_[i], i};
    Mmu::CodePage page;
    if (region_.pages.size() == most_pages || !cpu_.mmu.known_code_page(linear(distance), page) || !page.host) return {};
    // Wrapped round the end of the address space: the distance would not lead there again.
    if ((linear(distance) >> 12) - (entry_ >> 12) != static_cast<uint64_t>(delta)) return {};
    region_.pages.push_back({delta, page.physical, 0});
    hosts_.push_back(page.host);
    return Page{page.host, region_.pages.size() - 1};
  }

  // How often the block there has been interpreted, about.
  static uint64_t runs(const Block& block) { return block.heat / std::max<uint64_t>(1, block.count); }

  // The interpreter went there, and not only once for many times that it was at the entry.
  bool taken_before(int64_t distance) {
    Mmu::CodePage page;
    uint64_t address = linear(distance);
    if (!cpu_.mmu.known_code_page(address, page)) return false;
    const Block* block = cpu_.blocks().find(page.physical | (address & (page_size - 1)), region_.key.mode);
    return block && (block->entry || runs(*block) * rarest >= entry_runs_);
  }

  // Null: not one of ours.
  std::optional<Decoded> decode_at(int64_t at) {
    std::array<uint8_t, longest_instruction> bytes;
    unsigned count = 0;
    std::optional<Page> pages[2];
    pages[0] = page_at(at);
    if (!pages[0]) return {};
    uint64_t in_page = linear(at) & (page_size - 1);
    for (; count < longest_instruction && in_page + count < page_size; ++count) bytes[count] = pages[0]->host[in_page + count];
    Instruction in;
    DecodeResult result = cpu_.decoder().decode({bytes.data(), count}, mode_.code_bits, in);
    unsigned first = count;
    if (result == DecodeResult::needs_more) {
      pages[1] = page_at(at + first);
      if (!pages[1]) return {};
      for (; count < longest_instruction; ++count) bytes[count] = pages[1]->host[count - first];
      result = cpu_.decoder().decode({bytes.data(), count}, mode_.code_bits, in);
    }
    if (result != DecodeResult::ok || (in.vex && !mode_.vex)) return {};
    const Row& row = rows[in.row];
    bool repeated = row.family == Family::string && (in.rep || in.repne);
    if (row.kind == Kind::kind_unsupported) return {};
    Decoded d;
    d.step.start = at, d.step.end = at + in.length;
    d.step.op = lower(in, mode_, in.length);
    if (row.kind == Kind::kind_leave || repeated) {
      bool on = !repeated && goes_on(row);
      d.step.kind = on ? Step::Kind::call : Step::Kind::last;
      d.flow = on ? Flow::on : Flow::leave;
      mark_bytes(pages, static_cast<unsigned>(in_page), in.length, first);
      return d;
    }
    // FS and GS of 32-bit code have the address of a thread's or a processor's own data: their limit is asked. Others are rare.
    const auto segment = static_cast<Segments>(d.step.op.segment);
    if (d.step.op.flags & Op::checked && segment != Segments::fs && segment != Segments::gs) return {};
    constexpr uint32_t fpu = attribute::SSE_STATE | attribute::X87_STATE | attribute::MMX_STATE;
    if (row.attributes & fpu && !(mode_.sse_ready && mode_.x87_ready)) return {};
    if (row.kind == Kind::kind_helper) {
      if (row.attributes & attribute::ENDS) return {};
      bool vector = vector_row(in.row);
      d.step.kind = vector ? Step::Kind::vector : Step::Kind::helper;
      if (vector) record_address(d.step.op, d.step.recording);
    } else {
      d.step.kind = Step::Kind::text;
      tree::Recording& recording = d.step.recording;
      record(d.step.op, recording);
      tree::EffectKind last = recording.effects.empty() ? tree::EffectKind::load : recording.effects.back().kind;
      d.flow = last == tree::EffectKind::jump ? Flow::jump : last == tree::EffectKind::branch ? Flow::branch : Flow::on;
      d.relative = d.flow != Flow::on && is_relative_branch(in.row);
      if (d.relative) {
        // IP and not EIP: nobody does that in earnest.
        if (d.step.op.operand_bits() == 16) return {};
        d.target = d.step.end + in.immediate;
      } else if (d.flow != Flow::on && d.step.op.operand_bits() != mode_.code_bits) {
        return {};
      }
      std::string_view name = row.mnemonic;
      d.call = name == "CALL", d.ret = name == "RET";
    }
    d.step.slow = d.flow == Flow::on && d.step.kind != Step::Kind::helper &&
                  slow_.is_slow(region_.pages[pages[0]->index].physical + in_page);
    mark_bytes(pages, static_cast<unsigned>(in_page), in.length, first);
    return d;
  }

  void mark_bytes(const std::optional<Page> (&pages)[2], unsigned in_page, unsigned length, unsigned first) {
    mark(*pages[0], in_page, std::min(length, first));
    if (length > first) mark(*pages[1], 0, length - first);
  }

  void mark(const Page& page, unsigned start, unsigned length) {
    unsigned from = start / PhysicalMemory::granule, to = (start + length - 1) / PhysicalMemory::granule;
    region_.pages[page.index].granules |= (~uint64_t{0} >> (63 - to)) & (~uint64_t{0} << from);
  }

  void add_leader(const Place& place) {
    if (leaders_.emplace(place, -1).second && !steps_.count(place)) waiting_.push_back(place);
  }

  // The place that an edge leads to becomes a node's start, if it is worth following.
  bool follow(const Place& place, bool certain) {
    if (leaders_.count(place) || steps_.count(place) || certain || taken_before(place.distance)) {
      add_leader(place);
      return true;
    }
    return false;
  }

  void decode_from(Place place) {
    for (;;) {
      // Two ways of reading the bytes have met in the middle of the other's run: it is cut there.
      if (steps_.count(place)) return add_leader(place);
      if (steps_.size() >= most_instructions_) return;
      std::optional<Decoded> d = decode_at(place.distance);
      if (!d) return;
      Decoded& kept = steps_.emplace(place, std::move(*d)).first->second;
      Place next{place.context, kept.step.end};
      if (kept.flow == Flow::on) {
        if (leaders_.count(next)) return;
        place = next;
        continue;
      }
      if (kept.flow == Flow::leave) return;
      if (kept.flow == Flow::branch) {
        follow({place.context, kept.target}, false);
        follow(next, true);
      } else if (kept.relative && kept.call) {
        const Context& here = contexts_[place.context];
        if (here.depth >= most_call_depth || !taken_before(kept.target)) return;
        contexts_.push_back({next, here.depth + 1});
        unsigned inner = static_cast<unsigned>(contexts_.size() - 1);
        calls_[place] = inner;
        add_leader({inner, kept.target});
      } else if (kept.relative) {
        follow({place.context, kept.target}, true);
      } else if (kept.ret && place.context != 0) {
        follow(contexts_[place.context].returns_to, true);
      }
      return;
    }
  }

  Edge edge_to(const Place& place) {
    auto found = leaders_.find(place);
    int node = found != leaders_.end() && steps_.count(place) ? found->second : Edge::outside;
    return {node, place.distance};
  }

  void build_nodes() {
    std::vector<Place> starts;
    for (auto& [place, index] : leaders_)
      if (steps_.count(place)) starts.push_back(place);
    // The entry is the first of them in no other order than this.
    std::stable_partition(starts.begin(), starts.end(), [](const Place& p) { return p == Place{0, 0}; });
    for (size_t i = 0; i < starts.size(); ++i) leaders_[starts[i]] = static_cast<int>(i);
    region_.nodes.resize(starts.size());
    for (size_t i = 0; i < starts.size(); ++i) fill_node(region_.nodes[i], starts[i]);
  }

  void fill_node(Node& node, Place place) {
    node.start = place.distance;
    for (;;) {
      auto found = steps_.find(place);
      if (found == steps_.end()) {
        // Bytes that cannot be decoded, or more than a region may have.
        node.ending = Node::Ending::goes;
        node.next = {Edge::outside, place.distance};
        node.end = place.distance;
        return;
      }
      Decoded& d = found->second;
      node.steps.push_back(std::move(d.step));
      node.end = d.step.end;
      Place next{place.context, d.step.end};
      if (d.flow == Flow::on) {
        if (leaders_.count(next)) {
          node.ending = Node::Ending::goes;
          node.next = edge_to(next);
          return;
        }
        place = next;
        continue;
      }
      if (d.flow == Flow::leave) {
        node.ending = Node::Ending::left;
      } else if (d.flow == Flow::branch) {
        node.ending = Node::Ending::branches;
        node.taken = edge_to({place.context, d.target});
        node.next = edge_to(next);
      } else if (d.relative && d.call) {
        node.ending = Node::Ending::goes;
        auto inner = calls_.find(place);
        node.next = inner != calls_.end() ? edge_to({inner->second, d.target}) : Edge{Edge::outside, d.target};
      } else if (d.relative) {
        node.ending = Node::Ending::goes;
        node.next = edge_to({place.context, d.target});
      } else if (d.ret && place.context != 0) {
        node.ending = Node::Ending::returns;
        node.next = edge_to(contexts_[place.context].returns_to);
        if (node.next.node == Edge::outside) node.ending = Node::Ending::indirect;
      } else {
        node.ending = Node::Ending::indirect;
      }
      return;
    }
  }

  const Processor& cpu_;
  const SlowSites& slow_;
  Region& region_;
  const unsigned most_instructions_;
  const uint64_t entry_;
  const CodeMode mode_;
  uint64_t entry_runs_ = 0;
  std::vector<const uint8_t*> hosts_;
  std::vector<Context> contexts_;
  std::map<Place, Decoded> steps_;
  std::map<Place, int> leaders_;
  std::map<Place, unsigned> calls_;
  std::deque<Place> waiting_;
};

}  // namespace

bool form(const Processor& cpu, const Block& entry, const SlowSites& slow, unsigned most_instructions, Region& region) {
  if (!Former(cpu, slow, most_instructions, region).run(entry)) return false;
  arrange(region);
  return region.nodes[0].steps.size() > 0;
}

}  // namespace matryoshka::jit
