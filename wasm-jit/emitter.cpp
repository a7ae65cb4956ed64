// The control flow of a region as wasm ("Beyond Relooper", Ramsey 2022): the dominator tree is written depth first, a node to
// which several edges lead forwards stands behind a block that they break out of, and a loop's first node opens a `loop`.
//
// Every way out is a stub behind the function's body, reached by a branch; a stub says which of the region's ExitSites it is, and
// all of them share one tail that looks there for where RIP is, by which cell to leave and what the budget still owes, and writes
// registers and flags back. So the hot code has no stores of state at all. Stubs are numbered as they are met, innermost first,
// so a branch to one needs to know only how deep it stands itself.
#include "wasm-jit/emitter.h"

#include <algorithm>

#include "wasm-jit/step_emitter.h"

namespace matryoshka::jit {

namespace {

class RegionEmitter {
 public:
  RegionEmitter(const Region& region, const Layout& layout, EmitterHost& host, std::vector<StepMark>* marks)
      : region_(region),
        layout_(layout),
        host_(host),
        marks_(marks),
        f_(2),
        code_(f_.code),
        steps_(region, layout, host, f_),
        exit_site_(f_.new_local(WasmType::i32)),
        exit_cell_(f_.new_local(WasmType::i32)),
        exit_rip_(f_.new_local(WasmType::i64)),
        exit_checks_(f_.new_local(WasmType::i32)),
        fetch_entry_(f_.new_local(WasmType::i32)) {
    steps_.leave_if = [this](int64_t distance, unsigned done, unsigned depth) {
      stub(Wasm::br_if, {.distance = distance, .done = done, .cell = layout_.interpreted_cell}, depth);
    };
    steps_.leave_if_helper_failed = [this](const Step& step, Address op) {
      stub(Wasm::br_if, {.done = steps_.done, .cell = layout_.fault_cell, .failed = &step, .failed_op = op});
    };
  }

  WasmWriter run() {
    // What an instruction of kind leave has answered: RIP is behind it, the budget is up to date.
    steps_.leave_by = [this](const Step& step, uint32_t cell) { stub(Wasm::br_if, {.distance = step.end, .cell_local = cell}); };
    steps_.leave_at_once = [this](uint32_t cell) {
      if (!layout_.tail_calls) return code_.get(cell), code_.op(Wasm::return_);
      code_.get(StepEmitter::budget), code_.get(cell);
      code_.get(cell), code_.access(Wasm::i32_load, offsetof(LinkCell, slot));
      code_.op(Wasm::return_call_indirect), code_.number(0), code_.number(0);
    };
    steps_.block = [this](bool opens) { opens ? open(Wasm::block, {Label::Kind::plain, 0}) : close(); };
    steps_.longest_here = [this] { return node(node_).longest; };
    find_flag_shapes();
    tree(0);
    WasmWriter body = std::move(code_);
    code_ = {};
    // Around the body: a block for each stub, the last stub's outermost, and one more for the tail.
    for (size_t i = 0; i <= stubs_.size(); ++i) code_.open(Wasm::block);
    size_t body_at = code_.bytes.size();
    code_.append(body);
    code_.op(Wasm::unreachable);
    for (size_t i = 0; i < stubs_.size(); ++i) {
      code_.end();
      write_stub(stubs_[i]);
      if (i + 1 < stubs_.size()) code_.branch(Wasm::br, static_cast<uint32_t>(stubs_.size() - 1 - i));
    }
    code_.end();
    tail();
    size_t code_size = code_.bytes.size() + 1;
    WasmWriter whole = f_.finish(prologue());
    if (marks_)
      for (StepMark& mark : *marks_) mark.offset += whole.bytes.size() - code_size + body_at;
    return whole;
  }

 private:
  struct Stub {
    int64_t distance = 0;  // of RIP from the entry
    unsigned done = 0;
    Address cell = 0;
    bool checks_page = false;
    const Step* failed = nullptr;  // a helper that has faulted; the processor puts RIP where it belongs
    Address failed_op = 0;
    std::optional<uint32_t> rip_local = {};
    std::optional<uint32_t> cell_local = {};
    FlagsHere flags = {};
    bool operator==(const Stub& o) const {
      return distance == o.distance && done == o.done && cell == o.cell && checks_page == o.checks_page && failed == o.failed &&
             rip_local == o.rip_local && cell_local == o.cell_local && flags.shapes == o.flags.shapes;
    }
  };
  static constexpr uint32_t checks_page = 1, looks_up = 2;
  static constexpr uint16_t unknown_shape = 0xffff;
  // What a branch can name, from the outside in.
  struct Label {
    enum class Kind : uint8_t { plain, behind, loop } kind;
    int node;
  };

  const Node& node(int n) const { return region_.nodes[static_cast<size_t>(n)]; }

  // ---- Flags: which shapes they may have where a node begins

  // Forwards along all edges until nothing is added: a node that sets flags leaves one shape, another one passes on what it was
  // entered with, and where ways meet any of theirs may come. It grows only, so it ends.
  void find_flag_shapes() {
    std::vector<std::optional<uint32_t>> leaves(region_.nodes.size());
    for (size_t i = 0; i < region_.nodes.size(); ++i)
      for (const Step& s : region_.nodes[i].steps)
        if (auto shapes = steps_.announce(s)) leaves[i] = shapes;
    shapes_.assign(region_.nodes.size(), 0);
    shapes_[0] = FlagState{}.bit();
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t i = 0; i < region_.nodes.size(); ++i) {
        uint32_t out = leaves[i] ? *leaves[i] : shapes_[i];
        auto flow = [&](const Edge& e) {
          if (e.node == Edge::outside) return;
          uint32_t& in = shapes_[static_cast<size_t>(e.node)];
          changed |= (in | out) != in;
          in |= out;
        };
        flow(region_.nodes[i].next), flow(region_.nodes[i].taken);
      }
    }
  }

  // ---- Nodes

  void open(Wasm w, Label label) {
    code_.open(w);
    labels_.push_back(label);
  }
  void close() {
    code_.end();
    labels_.pop_back();
  }

  void tree(int n) {
    if (node(n).loops) open(Wasm::loop, {Label::Kind::loop, n});
    std::vector<int> behind;
    for (int i = n + 1; i < static_cast<int>(region_.nodes.size()); ++i)
      if (node(i).dominator == n && node(i).before.size() > 1) behind.push_back(i);
    for (auto it = behind.rbegin(); it != behind.rend(); ++it) open(Wasm::block, {Label::Kind::behind, *it});
    // What is owed to the budget at a node that can be reached in several ways was paid before it.
    if (node(n).loops || node(n).before.size() != 1) steps_.done = 0, steps_.vectors.known = {};
    steps_.flags.shapes = shapes_[static_cast<size_t>(n)];
    pages_known_ = node(n).pages_known;
    node_ = n;
    const std::vector<Step>& all = node(n).steps;
    for (size_t i = 0; i < all.size(); ++i) {
      if (marks_) marks_->push_back({code_.bytes.size(), all[i].start});
      require_page(all[i], all[i].start);
      require_page(all[i], all[i].end - 1);
      bool followed = i + 1 < all.size() && !all[i + 1].slow &&
                      (all[i + 1].kind == Step::Kind::text || all[i + 1].kind == Step::Kind::vector);
      steps_.step(all[i], followed);
    }
    ending(n);
    for (int child : behind) {
      close();
      tree(child);
    }
    if (node(n).loops) close();
  }

  // The first instruction on another page: it is where it was, and the fetch TLB knows it, or the interpreter goes on from here
  // and fetches it.
  void require_page(const Step& step, int64_t distance) {
    unsigned index = region_.page_of(distance);
    if (pages_known_ >> index & 1) return;
    pages_known_ |= 1u << index;
    const CodePageUse& page = region_.pages[index];
    auto address = [&] {
      code_.get(steps_.base), code_.i64(~uint64_t{0xfff}), code_.op(Wasm::i64_and);
      code_.i64(static_cast<uint64_t>(page.delta) << 12), code_.op(Wasm::i64_add);
      if (region_.mode.code_bits != 64) code_.i64(0xffffffff), code_.op(Wasm::i64_and);
    };
    fetch_entry(address, fetch_entry_);
    code_.get(fetch_entry_), code_.access(Wasm::i64_load, layout_.code_tlb + offsetof(TlbEntry, info));
    code_.i64(~uint64_t{0xfff}), code_.op(Wasm::i64_and), code_.i64(page.physical), code_.op(Wasm::i64_ne);
    fetch_differs(address, fetch_entry_);
    code_.op(Wasm::i32_or);
    steps_.leave_if(step.start, steps_.done, 0);
  }

  void ending(int n) {
    using Ending = Node::Ending;
    const Node& from = node(n);
    if (from.ending == Ending::left) return;
    steps_.set_flag_kind();
    switch (from.ending) {
      case Ending::left: return;
      case Ending::indirect: leave_indirectly(); return;
      case Ending::goes: go(n, from.next); return;
      case Ending::returns: {
        // Where it was called from, if the stack says so too.
        uint32_t target = steps_.target_local();
        code_.get(target);
        code_.get(steps_.base), code_.i64(static_cast<uint64_t>(from.next.distance)), code_.op(Wasm::i64_add);
        if (region_.mode.code_bits != 64) code_.i64(0xffffffff), code_.op(Wasm::i64_and);
        code_.op(Wasm::i64_ne);
        stub(Wasm::br_if, indirect());
        go(n, from.next);
        return;
      }
      case Ending::branches: branches(n); return;
    }
  }

  Stub indirect() const { return {.done = steps_.done, .cell = layout_.indirect_cell, .rip_local = steps_.target_local()}; }
  void leave_indirectly() { stub(Wasm::br, indirect()); }

  // Whether an edge is one branch instruction once the budget has been paid.
  bool is_plain_branch(int from, const Edge& e) const {
    return e.node == Edge::outside || (e.node > from && node(e.node).before.size() > 1);
  }

  void branches(int n) {
    const Node& from = node(n);
    steps_.flush_budget();
    uint32_t condition = steps_.condition_local();
    code_.get(condition);
    if (is_plain_branch(n, from.taken)) {
      jump(Wasm::br_if, from.taken);
      go(n, from.next);
    } else if (is_plain_branch(n, from.next)) {
      code_.op(Wasm::i32_eqz);
      jump(Wasm::br_if, from.next);
      go(n, from.taken);
    } else {
      FlagsHere flags = steps_.flags;
      LanesKnown known = steps_.vectors.known;
      uint32_t pages = pages_known_;
      open(Wasm::if_, {Label::Kind::plain, 0});
      go(n, from.taken);
      close();
      steps_.done = 0;
      steps_.flags = flags;
      steps_.vectors.known = known;
      pages_known_ = pages;
      go(n, from.next);
    }
  }

  // One branch: out of the region, or forwards to where ways meet. The budget is paid, or the stub pays.
  void jump(Wasm branch, const Edge& e) {
    if (e.node == Edge::outside) {
      stub(branch, {.distance = e.distance,
                    .done = steps_.done,
                    .cell = host_.new_cell(),
                    .checks_page = !(pages_known_ >> region_.page_of(e.distance) & 1)});
    } else {
      code_.branch(branch, label(Label::Kind::behind, e.node));
    }
  }

  void go(int from, const Edge& e) {
    if (e.node == Edge::outside) return jump(Wasm::br, e);
    if (e.node <= from) {
      // Once round: the only place in a loop where the budget is looked at.
      steps_.flush_budget();
      code_.get(StepEmitter::budget), code_.i32(node(e.node).longest), code_.op(Wasm::i32_lt_s);
      stub(Wasm::br_if, {.distance = node(e.node).start, .done = 0, .cell = layout_.next_cell});
      code_.branch(Wasm::br, label(Label::Kind::loop, e.node));
    } else if (node(e.node).before.size() > 1) {
      steps_.flush_budget();
      jump(Wasm::br, e);
    } else {
      // A loop's head starts with the budget paid.
      if (node(e.node).loops) steps_.flush_budget();
      tree(e.node);
    }
  }

  uint32_t label(Label::Kind kind, int n) const {
    for (size_t i = labels_.size(); i-- > 0;)
      if (labels_[i].kind == kind && labels_[i].node == n) return static_cast<uint32_t>(labels_.size() - 1 - i);
    __builtin_trap();
  }

  // ---- Ways out

  void stub(Wasm branch, Stub s, unsigned depth = 0) {
    s.flags = steps_.flags;
    if (stubs_.empty() || !(stubs_.back() == s)) stubs_.push_back(s);
    code_.branch(branch, static_cast<uint32_t>(labels_.size() + stubs_.size() - 1) + depth);
  }

  void write_stub(const Stub& s) {
    if (s.failed) steps_.note_fault(*s.failed, s.failed_op, s.done);
    bool known = s.flags.known();
    exit_shapes_ |= s.flags.shapes;
    if (!known) flags_known_ = false;
    ExitSite site{s.cell, static_cast<int32_t>(s.distance), s.done, static_cast<uint16_t>(known ? s.flags.state().index() : 0),
                  static_cast<uint16_t>(s.rip_local     ? looks_up
                                        : s.checks_page ? checks_page
                                                        : 0)};
    if (!known) site.flag_shape = unknown_shape;
    if (s.rip_local) code_.get(*s.rip_local), code_.set(exit_rip_);
    if (s.cell_local) code_.get(*s.cell_local), code_.set(exit_cell_);
    code_.i32(static_cast<uint32_t>(sites_.size() * sizeof(ExitSite))), code_.set(exit_site_);
    sites_.push_back(site);
  }

  template <class Has>
  bool any(Has has) const {
    return std::any_of(stubs_.begin(), stubs_.end(), has);
  }

  void tail() {
    bool known = flags_known_;
    Address sites = host_.keep(sites_);
    auto load = [&](Wasm w, size_t field) { code_.get(exit_site_), code_.access(w, sites + static_cast<uint32_t>(field)); };
    code_.get(StepEmitter::budget), load(Wasm::i32_load, offsetof(ExitSite, done)), code_.op(Wasm::i32_sub);
    code_.set(StepEmitter::budget);
    bool some_rip = any([](const Stub& s) { return s.rip_local.has_value(); });
    bool some_cell = any([](const Stub& s) { return s.cell_local.has_value(); });
    bool looks = some_rip, checks = looks || any([](const Stub&s) { return s.checks_page; });
    if (checks) load(Wasm::i32_load16_u, offsetof(ExitSite, checks)), code_.set(exit_checks_);
    if (some_cell) {
      code_.get(exit_cell_), load(Wasm::i32_load, offsetof(ExitSite, cell)), code_.get(exit_cell_), code_.op(Wasm::select);
    } else {
      load(Wasm::i32_load, offsetof(ExitSite, cell));
    }
    code_.set(exit_cell_);
    if (some_rip) code_.get(exit_checks_), code_.i32(looks_up), code_.op(Wasm::i32_ne), code_.open(Wasm::if_);
    code_.get(steps_.base), load(Wasm::i64_load32_s, offsetof(ExitSite, distance)), code_.op(Wasm::i64_add);
    if (region_.mode.code_bits != 64) code_.i64(0xffffffff), code_.op(Wasm::i64_and);
    code_.set(exit_rip_);
    if (some_rip) code_.end();
    if (FlagsHere here{exit_shapes_}; !here.known()) {
      // Where even the site does not know, the local does.
      auto shape = [&] { load(Wasm::i32_load16_u, offsetof(ExitSite, flag_shape)); };
      if (!known) code_.get(steps_.flag_kind);
      shape();
      if (!known) shape(), code_.i32(unknown_shape), code_.op(Wasm::i32_eq), code_.op(Wasm::select);
      code_.set(steps_.flag_kind);
    }
    steps_.store_registers();
    steps_.store_flags(exit_shapes_);
    code_.i32(0), code_.get(exit_rip_), code_.access(Wasm::i64_store, layout_.rip);
    if (!layout_.tail_calls) return return_cell([&] { code_.get(exit_cell_); });
    if (looks) look_up();
    if (checks) check_page();
    code_.get(StepEmitter::budget), code_.get(exit_cell_);
    code_.get(exit_cell_), code_.access(Wasm::i32_load, offsetof(LinkCell, slot));
    code_.op(Wasm::return_call_indirect), code_.number(0), code_.number(0);
  }

  // Where an indirect jump goes, if it has gone there before: the entry serves as a cell.
  void look_up() {
    code_.get(exit_checks_), code_.i32(looks_up), code_.op(Wasm::i32_eq);
    code_.open(Wasm::if_);
    auto rip = [&] { code_.get(exit_rip_), code_.op(Wasm::i32_wrap_i64); };
    rip(), rip(), code_.i32(JumpEntry::hash_shift), code_.op(Wasm::i32_shr_u), code_.op(Wasm::i32_xor);
    code_.i32(JumpEntry::count - 1), code_.op(Wasm::i32_and), code_.i32(sizeof(JumpEntry)), code_.op(Wasm::i32_mul);
    code_.i32(layout_.jumps), code_.op(Wasm::i32_add), code_.set(exit_cell_);
    code_.get(exit_cell_), code_.access(Wasm::i64_load, offsetof(JumpEntry, rip)), code_.get(exit_rip_), code_.op(Wasm::i64_ne);
    code_.get(exit_cell_), code_.access(Wasm::i32_load, offsetof(JumpEntry, mode)), code_.i32(region_.key.mode),
        code_.op(Wasm::i32_ne);
    code_.op(Wasm::i32_or);
    code_.open(Wasm::if_);
    return_cell([&] { code_.i32(layout_.indirect_cell); });
    code_.end();
    code_.end();
  }

  // A link to another page holds only while that page is mapped where it was, and the fetch TLB knows it.
  void check_page() {
    uint32_t entry = fetch_entry_;
    code_.get(exit_checks_);
    code_.open(Wasm::if_);
    fetch_entry([&] { code_.get(exit_rip_); }, entry);
    code_.get(entry), code_.access(Wasm::i64_load, layout_.code_tlb + offsetof(TlbEntry, info));
    code_.i64(~uint64_t{0xfff}), code_.op(Wasm::i64_and);
    code_.get(exit_cell_), code_.access(Wasm::i64_load, offsetof(LinkCell, physical_page));
    code_.op(Wasm::i64_ne);
    fetch_differs([&] { code_.get(exit_rip_); }, entry);
    code_.op(Wasm::i32_or);
    code_.open(Wasm::if_);
    // An entry of the jump table is no cell that one could leave by.
    return_cell([&] {
      code_.i32(layout_.indirect_cell), code_.get(exit_cell_);
      code_.get(exit_checks_), code_.i32(looks_up), code_.op(Wasm::i32_eq), code_.op(Wasm::select);
    });
    code_.end();
    code_.end();
  }

  template <class Cell>
  void return_cell(Cell cell) {
    code_.i32(0), code_.get(StepEmitter::budget), code_.access(Wasm::i32_store, layout_.budget_left);
    cell();
    code_.op(Wasm::return_);
  }

  // The fetch TLB's entry for an address, and whether it is for another page or not to be used.
  template <class AddressOnStack>
  void fetch_entry(AddressOnStack address, uint32_t entry) {
    address(), code_.i64(7), code_.op(Wasm::i64_shr_u), code_.op(Wasm::i32_wrap_i64);
    code_.i32((TlbSet::size - 1) << 5), code_.op(Wasm::i32_and), code_.set(entry);
  }
  template <class AddressOnStack>
  void fetch_differs(AddressOnStack address, uint32_t entry) {
    code_.get(entry), code_.access(Wasm::i64_load, layout_.code_tlb + offsetof(TlbEntry, read_tag));
    address(), code_.op(Wasm::i64_xor), code_.i64(page_size - 1), code_.op(Wasm::i64_gt_u);
  }

  // Nothing is done unless the budget suffices for the longest way to the first check.
  WasmWriter prologue() {
    WasmWriter body = std::move(code_);
    code_ = {};
    code_.get(StepEmitter::budget), code_.i32(node(0).longest), code_.op(Wasm::i32_lt_s);
    code_.open(Wasm::if_);
    return_cell([&] { code_.i32(layout_.refused_cell); });
    code_.end();
    code_.i32(0), code_.access(Wasm::i64_load, layout_.rip), code_.set(steps_.base);
    code_.append(steps_.load_registers());
    steps_.vectors.look_at_mxcsr();
    WasmWriter first = std::move(code_);
    code_ = std::move(body);
    return first;
  }

  const Region& region_;
  const Layout& layout_;
  EmitterHost& host_;
  std::vector<StepMark>* marks_;
  FunctionWriter f_;
  WasmWriter& code_;
  StepEmitter steps_;
  const uint32_t exit_site_, exit_cell_, exit_rip_, exit_checks_, fetch_entry_;
  uint32_t pages_known_ = 0;
  int node_ = 0;
  std::vector<Label> labels_;
  std::vector<Stub> stubs_;
  std::vector<uint32_t> shapes_;
  std::vector<ExitSite> sites_;
  uint32_t exit_shapes_ = 0;
  bool flags_known_ = true;  // at each exit
};

}  // namespace

WasmWriter emit(const Region& region, const Layout& layout, EmitterHost& host, std::vector<StepMark>* marks) {
  return RegionEmitter(region, layout, host, marks).run();
}

}  // namespace matryoshka::jit
