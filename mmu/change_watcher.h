// Sees every change that a run of instructions makes to RAM and TLBs, before it is made; for whoever wants to undo it or to
// hold two runs against each other (cpu/region_verifier.h). Usually there is none.
//
// Stores that a write tag lets through are seen by nobody. Whoever watches therefore is told when a page is opened for them, and
// has the page's bytes to compare.
#pragma once

#include <cstdint>

namespace matryoshka {

class TlbSet;

class ChangeWatcher {
 public:
  virtual ~ChangeWatcher() = default;
  // Bytes of the page, or its dirty mark, are about to change. Pages go by PhysicalMemory::page_number.
  virtual void before_write(uint64_t page) = 0;
  // Stores to the page go through a write tag from now on.
  virtual void opened(uint64_t page) = 0;
  // Entries of the set are about to be filled or dropped.
  virtual void before_fill(TlbSet& set) = 0;
  // An access is about to reach a device. False: it may not, and reads as 0.
  virtual bool may_reach_device() = 0;
};

}  // namespace matryoshka
