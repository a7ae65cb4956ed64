#include "cpu/state/state.h"

namespace matryoshka {

void CpuState::serialize(Archive& ar) {
  for (unsigned i = 0; i < 16; ++i) ar(gpr[i]);
  uint64_t all_flags = rflags();
  ar(rip, all_flags);
  if (ar.is_loading()) set_rflags(all_flags);
  ar(segment, ldtr, tr, gdtr, idtr, cr0, cr2, cr3, cr4, pdpte, xcr0, dr, dr6, dr7, pkru, mxcsr, xmm, x87, msr, activity,
     sti_shadow, mov_ss_shadow, nmi_blocked, nmi_pending, pending_debug, retired, monitor_address, monitor_armed);
  ar.require(activity <= Activity::wait_for_sipi, "the saved processor is in no known activity state");
}

}  // namespace matryoshka
