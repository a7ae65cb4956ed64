// Control flow: reverse postorder, dominators ("A Simple, Fast Dominance Algorithm", Cooper, Harvey, Kennedy), loops. WebAssembly
// has blocks and loops but no goto; a graph in which every edge backwards leads to a node that dominates its source can be
// written with those alone.
#include <algorithm>

#include "wasm-jit/region.h"

namespace matryoshka::jit {

namespace {

template <class Visit>
void for_each_edge(Node& node, Visit visit) {
  using Ending = Node::Ending;
  if (node.ending == Ending::goes || node.ending == Ending::branches || node.ending == Ending::returns) visit(node.next);
  if (node.ending == Ending::branches) visit(node.taken);
}

class Arranger {
 public:
  explicit Arranger(Region& region) : region_(region) {}

  void run() {
    do {
      order();
      find_dominators();
    } while (cut_irreducible());
    mark();
  }

 private:
  std::vector<Node>& nodes() { return region_.nodes; }

  // Renumbers; what cannot be reached any more is dropped.
  void order() {
    std::vector<int> postorder;
    std::vector<uint8_t> seen(nodes().size());
    struct Frame {
      int node;
      unsigned next;
    };
    std::vector<Frame> stack{{0, 0}};
    seen[0] = 1;
    while (!stack.empty()) {
      Frame& f = stack.back();
      int target = Edge::outside;
      unsigned i = 0;
      // The edge that falls through is visited last, so that it comes right behind its node.
      Node& n = nodes()[static_cast<size_t>(f.node)];
      if (n.ending == Node::Ending::branches && i++ == f.next) target = n.taken.node;
      bool goes = n.ending == Node::Ending::goes || n.ending == Node::Ending::branches || n.ending == Node::Ending::returns;
      if (goes && i++ == f.next) target = n.next.node;
      if (f.next >= i) {
        postorder.push_back(f.node);
        stack.pop_back();
        continue;
      }
      ++f.next;
      if (target != Edge::outside && !seen[static_cast<size_t>(target)]) {
        seen[static_cast<size_t>(target)] = 1;
        stack.push_back({target, 0});
      }
    }
    std::vector<int> number(nodes().size(), Edge::outside);
    std::vector<Node> sorted;
    for (auto it = postorder.rbegin(); it != postorder.rend(); ++it) {
      number[static_cast<size_t>(*it)] = static_cast<int>(sorted.size());
      sorted.push_back(std::move(nodes()[static_cast<size_t>(*it)]));
    }
    for (Node& n : sorted)
      for_each_edge(n, [&](Edge& e) {
        if (e.node != Edge::outside) e.node = number[static_cast<size_t>(e.node)];
      });
    nodes() = std::move(sorted);
  }

  int meet(int a, int b) {
    while (a != b) {
      while (a > b) a = nodes()[static_cast<size_t>(a)].dominator;
      while (b > a) b = nodes()[static_cast<size_t>(b)].dominator;
    }
    return a;
  }

  void find_dominators() {
    for (Node& n : nodes()) n.dominator = -1;
    nodes()[0].dominator = 0;
    for (bool changed = true; changed;) {
      changed = false;
      std::vector<int> found(nodes().size(), -1);
      for (size_t i = 0; i < nodes().size(); ++i)
        for_each_edge(nodes()[i], [&](Edge& e) {
          if (e.node == Edge::outside || nodes()[i].dominator < 0) return;
          int& d = found[static_cast<size_t>(e.node)];
          d = d < 0 ? static_cast<int>(i) : meet(d, static_cast<int>(i));
        });
      for (size_t i = 1; i < nodes().size(); ++i)
        if (found[i] != nodes()[i].dominator) nodes()[i].dominator = found[i], changed = true;
    }
  }

  bool dominates(int a, int b) {
    while (b > a) b = nodes()[static_cast<size_t>(b)].dominator;
    return a == b;
  }

  bool cut_irreducible() {
    bool cut = false;
    for (size_t i = 0; i < nodes().size(); ++i)
      for_each_edge(nodes()[i], [&](Edge& e) {
        if (e.node == Edge::outside || e.node > static_cast<int>(i) || dominates(e.node, static_cast<int>(i))) return;
        e.node = Edge::outside;
        cut = true;
      });
    return cut;
  }

  void mark() {
    for (Node& n : nodes()) n.before.clear(), n.loops = false;
    for (size_t i = 0; i < nodes().size(); ++i)
      for_each_edge(nodes()[i], [&](Edge& e) {
        if (e.node == Edge::outside) return;
        Node& target = nodes()[static_cast<size_t>(e.node)];
        if (e.node <= static_cast<int>(i))
          target.loops = true;
        else
          target.before.push_back(static_cast<int>(i));
      });
    for (size_t i = nodes().size(); i-- > 0;) {
      unsigned behind = 0;
      for_each_edge(nodes()[i], [&](Edge& e) {
        if (e.node > static_cast<int>(i)) behind = std::max(behind, nodes()[static_cast<size_t>(e.node)].longest);
      });
      nodes()[i].longest = behind + static_cast<unsigned>(nodes()[i].steps.size());
    }
    find_known_pages();
    region_.instructions = 0;
    for (const Node& n : nodes()) region_.instructions += static_cast<unsigned>(n.steps.size());
  }

  // A page needs to be asked about once: nothing in a region can take it out of the fetch TLB.
  void find_known_pages() {
    constexpr uint32_t all = ~uint32_t{0};
    for (Node& n : nodes()) n.pages_known = all;
    nodes()[0].pages_known = 1u << region_.page_of(0);
    for (bool changed = true; changed;) {
      changed = false;
      for (Node& n : nodes()) {
        uint32_t behind = n.pages_known;
        for (const Step& s : n.steps) behind |= 1u << region_.page_of(s.start) | 1u << region_.page_of(s.end - 1);
        for_each_edge(n, [&](Edge& e) {
          if (e.node == Edge::outside) return;
          uint32_t& known = nodes()[static_cast<size_t>(e.node)].pages_known;
          changed |= (known & behind) != known;
          known &= behind;
        });
      }
    }
  }

  Region& region_;
};

}  // namespace

void arrange(Region& region) { Arranger(region).run(); }

}  // namespace matryoshka::jit
