#include "tests/silicon/native.h"

#include <asm/ldt.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstddef>

#include "tests/silicon/segments.h"

namespace silicon {

namespace {

// What the assembly below reads and writes, at exchange_at.
struct Exchange {
  uint64_t gpr[16];      // 000
  uint64_t flags;        // 080
  uint64_t target;       // 088  for far jumps the selector follows
  uint64_t unused1;      // 090
  uint64_t host_stack;   // 098
  uint64_t floating;     // 0a0
  uint64_t clean_mxcsr;  // 0a8
  uint64_t segments;     // 0b0  whether the next four matter
  uint16_t selector[6];  // 0b8  ES CS SS DS FS GS
  uint16_t unused[2];
  uint64_t fs_base, gs_base;              // 0c8, 0d0  what came out
  uint64_t usual_fs_base, usual_gs_base;  // 0d8, 0e0
  uint64_t user_data;                     // 0e8
  uint64_t unused2[2];
  Floating fx;  // 100
};
static_assert(offsetof(Exchange, fx) == 0x100 && exchange_at == 0x12345000);

Exchange& exchange() { return *reinterpret_cast<Exchange*>(exchange_at); }

}  // namespace

extern "C" void silicon_enter64();
extern "C" void silicon_enter32();
extern "C" void silicon_entered();  // the end of the two above
extern "C" void silicon_leave();
extern "C" void silicon_resume();

// clang-format off
asm(R"(
.equ exchange, 0x12345000
.macro enter_with_state jump
  pushq %rbx; pushq %rbp; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp, exchange+0x98
  cmpb $0, exchange+0xa0
  je 1f
  fxrstor64 exchange+0x100
1:cmpb $0, exchange+0xb0
  je 3f
  movw exchange+0xb8, %es
  movw exchange+0xbc, %ss
  movw exchange+0xbe, %ds
  cmpw $0, exchange+0xc0
  je 2f
  movw exchange+0xc0, %fs
2:cmpw $0, exchange+0xc2
  je 3f
  movw exchange+0xc2, %gs
3:movq exchange, %rax
  movq exchange+0x8, %rcx
  movq exchange+0x10, %rdx
  movq exchange+0x18, %rbx
  movq exchange+0x28, %rbp
  movq exchange+0x30, %rsi
  movq exchange+0x38, %rdi
  movq exchange+0x40, %r8
  movq exchange+0x48, %r9
  movq exchange+0x50, %r10
  movq exchange+0x58, %r11
  movq exchange+0x60, %r12
  movq exchange+0x68, %r13
  movq exchange+0x70, %r14
  movq exchange+0x78, %r15
  pushq exchange+0x80
  popfq
  movq exchange+0x20, %rsp
  \jump *exchange+0x88
.endm

.text
.globl silicon_enter64
silicon_enter64:
  enter_with_state jmpq
.globl silicon_enter32
silicon_enter32:
  enter_with_state ljmpl
silicon_entered:

.globl silicon_leave
silicon_leave:
  movq %rax, exchange
  movq %rcx, exchange+0x8
  movq %rdx, exchange+0x10
  movq %rbx, exchange+0x18
  movq %rsp, exchange+0x20
  movq %rbp, exchange+0x28
  movq %rsi, exchange+0x30
  movq %rdi, exchange+0x38
  movq %r8, exchange+0x40
  movq %r9, exchange+0x48
  movq %r10, exchange+0x50
  movq %r11, exchange+0x58
  movq %r12, exchange+0x60
  movq %r13, exchange+0x68
  movq %r14, exchange+0x70
  movq %r15, exchange+0x78
  movq exchange+0x98, %rsp
  pushfq
  popq exchange+0x80
  movw %es, exchange+0xb8
  movw %ss, exchange+0xbc
  movw %ds, exchange+0xbe
  movw %fs, exchange+0xc0
  movw %gs, exchange+0xc2
.globl silicon_resume
silicon_resume:
  movq exchange+0x98, %rsp
  pushq $0x202
  popfq
  cmpb $0, exchange+0xb0
  je 2f
  rdfsbase %rax
  movq %rax, exchange+0xc8
  rdgsbase %rax
  movq %rax, exchange+0xd0
  movw exchange+0xe8, %es
  movw exchange+0xe8, %ds
  movw exchange+0xe8, %ss
  xorl %eax, %eax
  movw %ax, %fs
  movw %ax, %gs
  movq exchange+0xd8, %rax
  wrfsbase %rax
  movq exchange+0xe0, %rax
  wrgsbase %rax
2:
  cmpb $0, exchange+0xa0
  je 1f
  fxsave64 exchange+0x100
  fninit
  ldmxcsr exchange+0xa8
1:popq %r15; popq %r14; popq %r13; popq %r12; popq %rbp; popq %rbx
  ret
)");
// clang-format on

struct Native::Shared {
  volatile uint64_t next;  // the case that the child is at
  volatile uint64_t count;
  Case cases[batch];
  Outcome outcomes[batch];
};

namespace {

Outcome* present = nullptr;  // of the case that runs
const Case* present_case = nullptr;
bool begun = false;  // a stepped case has reached its instruction

// A fault or a trap: its context is the outcome.
void take_signal(int, siginfo_t*, void* context) {
  auto* uc = static_cast<ucontext_t*>(context);
  const auto* r = uc->uc_mcontext.gregs;
  const auto rip = static_cast<uint64_t>(r[REG_RIP]);
  if (present_case->stepped && r[REG_TRAPNO] == 1 && !begun) {
    // The steps of the entry itself; the last of them reaches the case.
    bool entering = rip >= reinterpret_cast<uint64_t>(&silicon_enter64) && rip < reinterpret_cast<uint64_t>(&silicon_entered);
    begun = !entering;
    return;
  }
  static constexpr int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  Exchange& x = exchange();
  const auto selectors = static_cast<uint64_t>(r[REG_CSGSFS]);
  x.selector[1] = static_cast<uint16_t>(selectors);
  x.selector[2] = static_cast<uint16_t>(selectors >> 48);
  asm volatile("movw %%es, %0" : "=m"(x.selector[0]));
  asm volatile("movw %%ds, %0" : "=m"(x.selector[3]));
  asm volatile("movw %%fs, %0" : "=m"(x.selector[4]));
  asm volatile("movw %%gs, %0" : "=m"(x.selector[5]));
  for (unsigned i = 0; i < 16; ++i) x.gpr[i] = static_cast<uint64_t>(r[order[i]]);
  x.flags = static_cast<uint64_t>(r[REG_EFL]);
  present->rip = static_cast<uint64_t>(r[REG_RIP]);
  present->exception = static_cast<uint8_t>(r[REG_TRAPNO]);
  present->error = static_cast<uint32_t>(r[REG_ERR]);
  present->cr2 = static_cast<uint64_t>(r[REG_CR2]);
  // Back to the 64-bit exit, with the case's x87 and SSE state still loaded by sigreturn, so that it is saved there.
  uc->uc_mcontext.gregs[REG_RIP] = reinterpret_cast<greg_t>(&silicon_resume);
  uc->uc_mcontext.gregs[REG_EFL] = 0x202;
  uc->uc_mcontext.gregs[REG_CSGSFS] = greg_t{user_data} << 48 | user_code64;
}

void map(uint64_t at, uint64_t pages, int rights) {
  void* got = mmap(reinterpret_cast<void*>(at), pages * page, rights,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE, -1, 0);
  if (got != reinterpret_cast<void*>(at)) _exit(120);
}

uint8_t* bytes_at(uint64_t address) { return reinterpret_cast<uint8_t*>(address); }

void lay_out() {
  constexpr int data = PROT_READ | PROT_WRITE, all = data | PROT_EXEC;
  map(exchange_at, 1, data);
  map(code64_at, 2, all);
  map(code32_at, 2, all);
  map(code16_at, 2, all);
  map(edge_at, 1, all);
  map(trap_at, trap_pages, all);
  map(data_at, data_pages, data);
  map(read_only_at, 1, data);
  *bytes_at(read_only_at) = read_only_first;
  if (mprotect(bytes_at(read_only_at), page, PROT_READ) != 0) _exit(123);
  map(stack_at, 1, data);
  std::memset(bytes_at(trap_at), 0xcc, trap_pages * page);
  // jmp *2(%rip), and in 32-bit code ljmp to a 64-bit jmp *2(%rip) behind it. The pointer is aligned: AC may be set.
  static constexpr uint8_t jump64[] = {0xff, 0x25, 2, 0, 0, 0, 0, 0};
  auto leave = reinterpret_cast<uint64_t>(&silicon_leave);
  auto put_jump = [&](uint64_t at) {
    std::memcpy(bytes_at(at), jump64, sizeof jump64);
    std::memcpy(bytes_at(at + sizeof jump64), &leave, 8);
  };
  put_jump(code64_at + page);
  for (uint64_t at : {code16_at + page, code32_at + page}) {
    uint8_t far_jump[8] = {0x66, 0xea, 0, 0, 0, 0, user_code64, 0};  // 66 makes the pointer of 16-bit code 32 bits wide
    auto landing = static_cast<uint32_t>(at + 16);
    std::memcpy(far_jump + 2, &landing, 4);
    unsigned skip = at == code16_at + page ? 0 : 1;
    std::memcpy(bytes_at(at), far_jump + skip, sizeof far_jump - skip);
    put_jump(landing);
  }
  for (unsigned i = 0; i < local_count; ++i) {
    const SegmentChoice& s = local_table[i];
    user_desc d = {};
    d.entry_number = i, d.base_addr = s.base, d.limit = s.limit;
    d.contents = s.type >> 2 & 3, d.read_exec_only = !(s.type >> 1 & 1);
    d.seg_32bit = s.big, d.limit_in_pages = s.pages, d.seg_not_present = !s.present;
    constexpr int write_entry = 0x11;
    if (syscall(SYS_modify_ldt, write_entry, &d, sizeof d) != 0) _exit(122);
  }
}

// Nothing but returning from a signal, the two pipes, and leaving.
bool renounce_system_calls() {
  sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0xc000003e /* AUDIT_ARCH_X86_64 */, 0, 5),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 4, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program{sizeof rules / sizeof rules[0], rules};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

void catch_signals() {
  static uint8_t stack[64 << 10];
  stack_t alternative{stack, 0, sizeof stack};
  sigaltstack(&alternative, nullptr);
  struct sigaction action = {};
  action.sa_sigaction = take_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP}) sigaction(signal, &action, nullptr);
}

// From here on the child's own thread-local storage is out of reach, and with it most of the C library.
void set_bases() {
  asm volatile("movl $0x2b, %%eax; movl %%eax, %%ds; movl %%eax, %%es" ::: "eax");
  asm volatile("wrgsbase %0" ::"r"(gs_base));
  asm volatile("wrfsbase %0" ::"r"(fs_base));
}

// The C library's wrappers need the storage that is gone.
long system_call(long number, long a, long b, long c) {
  long result;
  asm volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return result;
}

[[noreturn]] void leave(int status) {
  for (;;) system_call(SYS_exit_group, status, 0, 0);
}

bool all_zero(const uint8_t* p, size_t size) { return p[0] == 0 && __builtin_memcmp(p, p + 1, size - 1) == 0; }

uint64_t find_stray(uint64_t at, uint64_t size) {
  uint8_t* p = bytes_at(at);
  if (all_zero(p, size)) return 0;
  uint64_t found = 0;
  for (uint64_t i = 0; i < size; ++i)
    if (p[i]) found = found ? found : at + i, p[i] = 0;
  return found;
}

// Where RIP leads through the code segment that a jump has ended in.
uint64_t linear_rip(const Outcome& out) {
  uint16_t code = out.selector[1];
  if (!(code & 4) || code >> 3 >= local_count) return out.rip;
  return static_cast<uint32_t>(out.rip + local_table[code >> 3].base);
}

void run_one(const Case& c, Outcome& out) {
  Exchange& x = exchange();
  std::memcpy(x.gpr, c.gpr, sizeof x.gpr);
  x.flags = c.flags;
  x.target = c.rip();
  x.segments = c.segmented || c.tables;
  uint64_t code = c.segmented ? c.selector[1] : c.bits == 64 ? user_code64 : user_code32;
  if (c.bits != 64) x.target |= code << 32;
  if (x.segments) std::memcpy(x.selector, c.selector, sizeof x.selector);
  x.selector[1] = static_cast<uint16_t>(code);
  x.usual_fs_base = fs_base, x.usual_gs_base = gs_base, x.user_data = user_data;
  x.floating = c.floating;
  x.clean_mxcsr = 0x1f80;
  if (c.floating) x.fx = c.fx;
  std::memcpy(bytes_at(c.code_at()), c.code, c.length);
  for (unsigned i = 0; i < c.windows; ++i) std::memcpy(bytes_at(c.window[i].address), c.window[i].bytes, c.window[i].size);

  present = &out, present_case = &c, begun = false;
  out.exception = Outcome::none, out.died = 0;
  out.rip = c.rip() + c.length;
  if (c.bits == 64)
    silicon_enter64();
  else
    silicon_enter32();

  std::memcpy(out.gpr, x.gpr, sizeof x.gpr);
  out.flags = x.flags;
  std::memcpy(out.selector, x.selector, sizeof x.selector);
  out.fs_base = x.fs_base, out.gs_base = x.gs_base;
  if (c.floating) out.fx = x.fx;
  for (unsigned i = 0; i < c.windows; ++i) std::memcpy(out.bytes[i], bytes_at(c.window[i].address), c.window[i].size);
  for (unsigned i = 0; i < c.windows; ++i) std::memset(bytes_at(c.window[i].address), 0, c.window[i].size);
  out.stray = find_stray(data_at, data_pages * page);
  if (!out.stray) out.stray = find_stray(stack_at, page);
  if (c.trapped) std::memset(bytes_at(c.code_at()), 0xcc, c.length);
  // The INT3 behind or at the target is the end that was wanted; so is a target where there is nothing to fetch.
  constexpr uint32_t fetch = 16;
  if (c.trapped && out.exception == 3) {
    out.exception = Outcome::none;
    out.rip -= 1;
  } else if (c.trapped && out.exception == 14 && out.error & fetch && out.cr2 == linear_rip(out)) {
    out.exception = Outcome::none;
  }
}

}  // namespace

Native::Native() {
  void* got = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (got == MAP_FAILED) {
    problem_ = "no shared memory";
    return;
  }
  shared_ = static_cast<Shared*>(got);
  std::signal(SIGPIPE, SIG_IGN);  // a dead child is met by write()'s answer
  if (!start_child()) problem_ = "no child process";
}

Native::~Native() {
  end_child();
  if (shared_) munmap(shared_, sizeof(Shared));
}

bool Native::start_child() {
  int down[2], up[2];
  if (pipe(down) != 0) return false;
  if (pipe(up) != 0) return close(down[0]), close(down[1]), false;
  child_ = fork();
  if (child_ == 0) {
    close(down[1]), close(up[0]);
    lay_out();
    catch_signals();
    if (!renounce_system_calls()) leave(121);
    set_bases();
    uint8_t word;
    while (system_call(SYS_read, down[0], reinterpret_cast<long>(&word), 1) == 1) {
      for (uint64_t i = shared_->next; i < shared_->count; ++i) {
        shared_->next = i;
        run_one(shared_->cases[i], shared_->outcomes[i]);
      }
      shared_->next = shared_->count;
      if (system_call(SYS_write, up[1], reinterpret_cast<long>(&word), 1) != 1) break;
    }
    leave(0);
  }
  close(down[0]), close(up[1]);
  to_child_ = down[1], from_child_ = up[0];
  return child_ > 0;
}

void Native::end_child() {
  if (child_ <= 0) return;
  close(to_child_), close(from_child_);
  kill(child_, SIGKILL);
  waitpid(child_, nullptr, 0);
  child_ = -1;
}

void Native::run(std::span<const Case> cases, std::span<Outcome> outcomes) {
  constexpr int patience = 20'000;  // milliseconds; a batch takes a few
  for (size_t begin = 0; begin < cases.size(); begin += batch) {
    size_t count = std::min(batch, cases.size() - begin);
    std::copy_n(cases.begin() + static_cast<ptrdiff_t>(begin), count, shared_->cases);
    shared_->next = 0;
    shared_->count = count;
    uint64_t slow = batch;  // the case that was met when patience ended: a second time it is to blame
    while (shared_->next < count) {
      uint8_t word = 0;
      pollfd answer{from_child_, POLLIN, 0};
      bool answered = write(to_child_, &word, 1) == 1 && poll(&answer, 1, patience) == 1;
      if (answered && read(from_child_, &word, 1) == 1) break;
      // The child died of this case, or hangs in it: another one takes the rest.
      int status = 0;
      if (answered) waitpid(child_, &status, 0);
      uint64_t at = shared_->next;
      if (!answered && at != slow) {
        slow = at;
        usleep(100'000);  // if there was no memory for a child, there may be soon
        end_child();
        if (!start_child()) return;
        continue;
      }
      shared_->outcomes[at] = {};
      shared_->outcomes[at].died = static_cast<uint8_t>(!answered ? SIGALRM : WIFSIGNALED(status) ? WTERMSIG(status) : 255);
      shared_->next = at + 1;
      end_child();
      if (!start_child()) return;
    }
    std::copy_n(shared_->outcomes, count, outcomes.begin() + static_cast<ptrdiff_t>(begin));
  }
}

}  // namespace silicon
