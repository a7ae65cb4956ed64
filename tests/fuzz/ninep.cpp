// 9P messages: each length and the room for the answer, then the message; to a tree in memory or to the inspector's. Whatever the
// client does, the server's state can be saved and loaded, and no answer is longer than its room.
#include <memory>

#include "cpu/processor.h"
#include "devices/machine/inspector_tree.h"
#include "devices/memory_tree.h"
#include "devices/ninep_server.h"
#include "tests/fuzz/fuzz.h"

namespace matryoshka::fuzz {

namespace {

// With the tree.
std::vector<uint8_t> saved(NinepServer& server) {
  Archive ar = Archive::saving();
  server.serialize(ar);
  return ar.output();
}

std::vector<uint8_t> message(uint8_t type, const std::vector<uint8_t>& body) {
  std::vector<uint8_t> bytes(4);
  append(bytes, type);
  append(bytes, uint16_t{1});
  append(bytes, body);
  poke(bytes, 0, static_cast<uint32_t>(bytes.size()));
  return bytes;
}

// In VMX operation, with a current VMCS and an exit behind it. The share only looks, so one does for all inputs.
class Inspected : private ProcessorHost {
 public:
  Inspected() {
    constexpr uint64_t vmxon_region = 0x1000, vmcs = 0x2000;
    CpuModel model;
    std::string error;
    expect(CpuModel::parse("default", model, error), "the default model exists");
    cpu_.reset(new Processor(model, memory_, bus_, clock_, *this));
    cpu_->reset();
    for (uint64_t region : {vmxon_region, vmcs})
      expect(memory_.write(region, &vmx::Capabilities::revision, sizeof vmx::Capabilities::revision), "there is memory");
    cpu_->vmx.vmxon(vmxon_region);
    cpu_->vmx.vmptrld(vmcs);
    expect(cpu_->vmx.current() != nullptr, "there is a current VMCS");
    vmx::TraceEvent exit;
    exit.kind = vmx::TraceEvent::exit, exit.vmcs = vmcs;
    cpu_->vmx.trace.add(exit, *cpu_->vmx.current());
  }
  std::unique_ptr<FileTree> tree() const {
    return std::make_unique<InspectorTree>(*cpu_, [] { return FileTree::Time{}; });
  }

 private:
  void triple_fault() override {}
  void numeric_error() override {}
  uint64_t random() override { return 1; }

  Bus bus_;
  PhysicalMemory memory_{uint64_t{1} << 20, bus_};
  Clock clock_;
  std::unique_ptr<Processor> cpu_;
};

std::unique_ptr<FileTree> make_tree(bool of_inspector) {
  static const Inspected inspected;
  if (of_inspector) return inspected.tree();
  auto tree = std::make_unique<MemoryTree>(64 << 10);
  const uint8_t world[] = {'w', 'o', 'r', 'l', 'd'};
  expect(tree->add("hello", world) && tree->add("dir/deep", world), "an empty tree has room");
  return tree;
}

}  // namespace

void ninep(Input input) {
  // A session that stands, unless the input begins one of its own: fid 0 is the root.
  const uint8_t head = input.take();
  const std::unique_ptr<FileTree> tree = make_tree(head & 2), other_tree = make_tree(head & 2);
  NinepServer server(*tree);
  if (head & 1) {
    std::vector<uint8_t> version, attach;
    append(version, uint32_t{65536});
    append(version, uint16_t{8});
    append(version, std::string_view("9P2000.L"));
    append(attach, uint32_t{0});
    append(attach, ~uint32_t{0});
    append(attach, uint32_t{0});  // two empty strings
    append(attach, uint32_t{0});
    (void)server.handle(message(100, version), 4096);
    (void)server.handle(message(104, attach), 4096);
  }
  for (unsigned count = 0; !input.empty() && count < 200; ++count) {
    const uint8_t shape = input.take();
    std::vector<uint8_t> bytes;
    if (shape & 0x80) {
      // As it stands, with its own header.
      const ByteSpan raw = input.bytes(shape & 0x7f);
      bytes.assign(raw.begin(), raw.end());
    } else {
      const uint8_t type = input.take();
      const ByteSpan body = input.bytes(shape & 0x7f);
      bytes = message(type, {body.begin(), body.end()});
    }
    const size_t room = shape == 0x7f ? input.take() : 65536;
    const std::vector<uint8_t> answer = server.handle(bytes, room);
    expect(answer.size() <= room, "an answer keeps to its room");
    expect(answer.empty() || peek<uint32_t>(answer, 0) == answer.size(), "an answer says its length");
  }

  const std::vector<uint8_t> bytes = saved(server);
  NinepServer other(*other_tree);
  Archive from = Archive::loading(bytes.data(), bytes.size());
  other.serialize(from);
  expect(from.ok() && from.remaining() == 0, "a server's state can be loaded");
  expect(saved(other) == bytes, "what was loaded is what was saved");
}

}  // namespace matryoshka::fuzz
