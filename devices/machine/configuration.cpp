// The configuration as snapshots keep it: everything but the bytes of images. Those of kernel, initial RAM disk, ROM and
// shared files follow in sections of their own; drives are known by size and hash, and whoever loads gives them again. A
// snapshot of version 1 has the bytes of all images in here.
#include <algorithm>

#include "devices/machine/boot.h"
#include "devices/machine/hash.h"
#include "devices/machine/machine.h"

namespace matryoshka {

namespace {

void serialize_image(Archive& ar, Image& image) {
  ar.string(image.name, 4096);
  if (ar.version() == 1) ar.vector(image.bytes, most_image_bytes);
}

std::string quoted(const std::string& name) {
  std::string text = "'";
  for (char c : name) text += static_cast<unsigned char>(c) < ' ' ? '?' : c;
  return text + "'";
}

}  // namespace

void MachineConfig::serialize(Archive& ar) {
  ar(memory_bytes, processors);
  ar.string(cpu, 4096);
  serialize_image(ar, kernel);
  auto count = static_cast<uint32_t>(initrds.size());
  ar(count);
  ar.require(count <= 64, "there are more boot modules than the machine takes");
  if (ar.is_loading()) initrds.resize(ar.ok() ? count : 0), initrd_arguments.resize(initrds.size());
  initrd_arguments.resize(initrds.size());
  for (size_t i = 0; i < initrds.size(); ++i) {
    serialize_image(ar, initrds[i]);
    ar.string(initrd_arguments[i], 65536);
  }
  ar.string(command_line, 65536);
  serialize_image(ar, bios);
  count = static_cast<uint32_t>(drives.size());
  ar(count);
  ar.require(count <= 20, "there are more drives than the machine takes");
  if (ar.is_loading()) drives.resize(ar.ok() ? count : 0);
  for (DriveConfig& drive : drives) {
    serialize_image(ar, drive.image);
    ar(drive.interface, drive.read_only);
    if (ar.version() != 1) ar(drive.size, drive.hash);
    ar.require(drive.interface == DriveConfig::Interface::virtio, "a drive has an unknown interface");
  }
  count = static_cast<uint32_t>(shared_files.size());
  ar(count);
  ar.require(count <= 100'000, "there are more shared files than the machine takes");
  if (ar.is_loading()) shared_files.resize(ar.ok() ? std::min<size_t>(count, ar.remaining()) : 0);
  for (Image& file : shared_files) serialize_image(ar, file);
  ar(debugcon, debug_exit_port, shared_folder, no_reboot, host_clock, epoch_seconds, seed);
  if (ar.version() >= 3) ar(inspector_share);
  ar.require(debug_exit_port >= -1 && debug_exit_port < 0xfffd, "the debug-exit port is out of range");
}

std::vector<Image*> MachineConfig::saved_images() {
  std::vector<Image*> images;
  if (kernel.given()) images.push_back(&kernel);
  for (Image& initrd : initrds) images.push_back(&initrd);
  if (bios.given()) images.push_back(&bios);
  for (Image& file : shared_files) images.push_back(&file);
  return images;
}

void DriveConfig::identify() {
  if (size != 0) return;
  Hash of_bytes;
  of_bytes.add(image.bytes.data(), image.bytes.size());
  size = image.bytes.size(), hash = of_bytes.value();
}

std::string MachineConfig::attach(std::vector<DriveConfig> given, bool spare_allowed) {
  for (DriveConfig& drive : given) drive.identify();
  for (DriveConfig& drive : drives) {
    if (!drive.image.bytes.empty()) continue;  // of version 1
    auto same = std::find_if(given.begin(), given.end(),
                             [&](const DriveConfig& g) { return g.size == drive.size && g.hash == drive.hash; });
    if (same == given.end()) {
      bool named =
          std::any_of(given.begin(), given.end(), [&](const DriveConfig& g) { return g.image.name == drive.image.name; });
      std::string text = "Its drive " + quoted(drive.image.name) + " of " + grouped(drive.size) + " bytes ";
      if (named) return text + "has changed since it was made; give the file as it was then.";
      return text + (given.empty() ? "is not in it; give it again" : "is none of those given; give it as it was then") +
             " with -drive file=FILE.";
    }
    drive.image = std::move(same->image);
    given.erase(same);
  }
  if (!given.empty() && !spare_allowed)
    return "It has no drive like " + quoted(given[0].image.name) +
           "; drives cannot be added to a saved machine, so leave that one away.";
  return {};
}

}  // namespace matryoshka
