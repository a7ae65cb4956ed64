#include "vmx-model/cause.h"

namespace matryoshka::vmx {

std::string Cause::describe() const {
  switch (kind()) {
    case unconditional: return "always exits from a guest";
    case control: {
      const ControlInfo& row = info(static_cast<Control>(detail()));
      return std::string(row.title) + " (" + word_table[static_cast<unsigned>(row.word)].title + ", bit " +
             std::to_string(row.bit) + ")";
    }
    case exception_bitmap: return "exception bitmap, bit " + std::to_string(detail());
    case page_fault_filter: return "exception bitmap, bit 14, with the page-fault error-code mask and match";
    case io_bitmap: return "the port's bit in an I/O bitmap";
    case msr_bitmap: return "the MSR's bit in the MSR bitmaps";
    case msr_out_of_bitmap: return "an MSR outside of the ranges that the MSR bitmaps cover";
    case cr0_mask: return "CR0 guest/host mask, where the value differs from the read shadow";
    case cr4_mask: return "CR4 guest/host mask, where the value differs from the read shadow";
    case cr3_targets: return "CR3-load exiting, and the value is none of the CR3 targets";
    case ept_entry: return "an EPT paging-structure entry";
    case apic_access_page: return "the page at the APIC-access address";
    case tpr_threshold: return "the virtual TPR below the TPR threshold";
    case entry_check: return "a check of VM entry that failed";
    case count: break;
  }
  return "an unknown cause";
}

}  // namespace matryoshka::vmx
