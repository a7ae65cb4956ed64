// The command line of the virtual machine monitor; see vmm.h for the whole.
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm.h"

#define BOOT "/opt/tools/boot/"

static const char help[] =
    "usage: vmm [OPTION]...                    boot Linux in a virtual machine\n"
    "       vmm --real|--protected|--long FILE run a flat program in one\n"
    "\n"
    "Without options it boots the kernel of the tools disk, and hands that disk on:\n"
    "in the guest the same command starts a guest of the guest.\n"
    "\n"
    "  -k, --kernel FILE    bzImage or vmlinux (default " BOOT
    "bzImage)\n"
    "  -i, --initrd FILE    initial RAM disk (default " BOOT
    "initrd;\n"
    "                       none if only --kernel is given)\n"
    "  -a, --append TEXT    put this at the end of the kernel's command line\n"
    "  -d, --disk FILE      a virtio disk, up to four times; read-only if FILE is.\n"
    "                       The tools disk is the first unless --no-tools is given\n"
    "      --no-tools       do not hand the tools disk on\n"
    "      --share TAG=DIR  the guest can mount this folder: mount -t 9p TAG /mnt.\n"
    "                       Up to two; it can write only if ,rw stands behind it\n"
    "  -m, --memory MB      (default: three fifths of what is free here)\n"
    "      --small-pages    do not take memory in pages of 2 MiB\n"
    "  -s, --serial         the guest's console is the serial port, which shows also\n"
    "                       what comes before the virtio console's driver\n"
    "\n"
    "  --real FILE          16-bit code, loaded at 7C00h and entered at 0:7C00h\n"
    "  --protected FILE     32-bit code, loaded at 100000h, flat segments\n"
    "  --long FILE          64-bit code, loaded at 100000h; 4 GiB are mapped, each\n"
    "                       address to itself, and RSP is at 100000h\n"
    "                       They write to port 3F8h or E9h, and end by HLT, or by\n"
    "                       OUT 0F4h, AL with AL as the exit status\n"
    "\n"
    "  -e, --exits          print each exit that KVM does not handle by itself\n"
    "  -c, --count          at the end, print how many there were of each kind\n"
    "  -r, --registers      at the end, print the processor's registers\n"
    "\n"
    "Ctrl-A x ends the machine. Ctrl-A Ctrl-A sends Ctrl-A: so a guest's guest is\n"
    "ended with Ctrl-A Ctrl-A x.\n";

struct options options;

static void complain(const char* format, va_list arguments) {
  fflush(stdout);
  fputs("vmm: ", stderr);
  vfprintf(stderr, format, arguments);
  fputs("\n", stderr);
}

void warn(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  complain(format, arguments);
  va_end(arguments);
}

void fail(const char* format, ...) {
  va_list arguments;
  terminal_restore();
  va_start(arguments, format);
  complain(format, arguments);
  va_end(arguments);
  _exit(2);
}

void* read_file(const char* path, size_t* size) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  struct stat status;
  if (file < 0 || fstat(file, &status) != 0) fail("cannot open %s: %s.", path, strerror(errno));
  if (!S_ISREG(status.st_mode)) fail("%s is not a file.", path);
  *size = status.st_size;
  uint8_t* bytes = malloc(*size + 1);
  if (!bytes) fail("%s has %zu bytes, more than there is memory for.", path, *size);
  for (size_t done = 0; done < *size;) {
    ssize_t count = read(file, bytes + done, *size - done);
    if (count < 0) fail("cannot read %s: %s.", path, strerror(errno));
    if (count == 0) fail("%s became shorter while it was read.", path);
    done += count;
  }
  close(file);
  return bytes;
}

// The outermost Linux has no parameter `layer`; each monitor tells its guest one more than its own.
int layer(void) {
  static const char name[] = " layer=";
  char line[4096] = " ";
  FILE* file = fopen("/proc/cmdline", "r");
  if (!file) return 1;
  size_t size = fread(line + 1, 1, sizeof line - 2, file);
  fclose(file);
  line[size + 1] = 0;
  const char* found = strstr(line, name);
  int number = found ? atoi(found + strlen(name)) : 1;
  return number < 1 || number > 1000 ? 1 : number;
}

// The block device that is mounted on /opt/tools, if there is one.
static const char* tools_disk(void) {
  static char device[256];
  char place[256];
  FILE* mounts = fopen("/proc/mounts", "r");
  if (!mounts) return NULL;
  bool found = false;
  while (!found && fscanf(mounts, "%255s %255s %*[^\n]", device, place) == 2) {
    found = strcmp(place, "/opt/tools") == 0 && device[0] == '/';
  }
  fclose(mounts);
  return found ? device : NULL;
}

// Three fifths of the available memory leave room for this system, and for a third layer within the second.
static uint64_t default_memory(void) {
  char line[128];
  uint64_t kilobytes = 0;
  FILE* info = fopen("/proc/meminfo", "r");
  while (info && !kilobytes && fgets(line, sizeof line, info)) {
    unsigned long value;
    if (sscanf(line, "MemAvailable: %lu", &value) == 1) kilobytes = value;
  }
  if (info) fclose(info);
  uint64_t megabytes = kilobytes / 1024 * 3 / 5 & ~UINT64_C(1);  // whole pages of 2 MiB
  return megabytes < 48 ? 48 : megabytes > 512 ? 512 : megabytes;
}

static uint64_t memory_option(const char* text) {
  char* end;
  uint64_t megabytes = strtoull(text, &end, 10);
  if (*end == 'G' || *end == 'g') megabytes = megabytes > MEMORY_MOST >> 30 ? MEMORY_MOST : megabytes * 1024;
  if (*end && strchr("MmGg", *end)) ++end;
  if (end == text || *end || megabytes < 2 || megabytes > MEMORY_MOST >> 20) {
    fail("--memory %s: give a number of megabytes from 2 to %llu.", text, (unsigned long long)MEMORY_MOST >> 20);
  }
  return megabytes;
}

static char** arguments_given;
void restart(void) {  // a reset: everything anew, in this process
  terminal_restore();
  execv("/proc/self/exe", arguments_given);
  fail("the guest asked for a reset, and the machine cannot be started again: %s.", strerror(errno));
}

int main(int argc, char** argv) {
  enum { REAL = 0x100, PROTECTED, LONG, NO_TOOLS, SMALL, SHARE };
  static const struct option table[] = {
      {"kernel", 1, NULL, 'k'}, {"initrd", 1, NULL, 'i'},          {"append", 1, NULL, 'a'},        {"disk", 1, NULL, 'd'},
      {"memory", 1, NULL, 'm'}, {"no-tools", 0, NULL, NO_TOOLS},   {"small-pages", 0, NULL, SMALL}, {"serial", 0, NULL, 's'},
      {"real", 1, NULL, REAL},  {"protected", 1, NULL, PROTECTED}, {"long", 1, NULL, LONG},         {"exits", 0, NULL, 'e'},
      {"count", 0, NULL, 'c'},  {"registers", 0, NULL, 'r'},       {"help", 0, NULL, 'h'},          {"share", 1, NULL, SHARE},
      {NULL, 0, NULL, 0},
  };
  const char* given[DISKS_MOST];
  int given_count = 0;
  bool tools = true;
  uint64_t megabytes = 0;
  arguments_given = argv;
  options.huge = true;
  options.append = "";
  for (int option; (option = getopt_long(argc, argv, "k:i:a:d:m:secrh", table, NULL)) != -1;) switch (option) {
      case 'k': options.kernel = optarg; break;
      case 'i': options.initrd = optarg; break;
      case 'a': options.append = optarg; break;
      case 'd':
        if (given_count == DISKS_MOST - 1) fail("there is room for %d disks.", DISKS_MOST - 1);
        given[given_count++] = optarg;
        break;
      case 'm': megabytes = memory_option(optarg); break;
      case 's': options.serial = true; break;
      case 'e': options.exits = true; break;
      case 'c': options.count = true; break;
      case 'r': options.registers = true; break;
      case SHARE:
        if (options.share_count == SHARES_MOST) fail("there is room for %d shares.", SHARES_MOST);
        options.shares[options.share_count++] = optarg;
        break;
      case NO_TOOLS: tools = false; break;
      case SMALL: options.huge = false; break;
      case REAL:
      case PROTECTED:
      case LONG:
        options.flat = optarg;
        options.flat_bits = option == REAL ? 16 : option == PROTECTED ? 32 : 64;
        break;
      case 'h': fputs(help, stdout); return 0;
      default: return fputs("vmm: --help lists the options.\n", stderr), 2;
    }
  if (optind < argc) fail("'%s' is not an option; --help lists them. A kernel is given with --kernel.", argv[optind]);

  if (options.flat) {
    if (given_count || options.share_count) fail("a flat program has no devices; leave --disk and --share away.");
    machine_create((megabytes ? megabytes : 16) << 20, false);
    flat_load();
    terminal_start();
    machine_run();
  }
  if (!options.kernel) {
    options.kernel = BOOT "bzImage";
    if (access(options.kernel, R_OK) != 0) {
      fail("there is no %s, since no tools disk is attached. Attach one, or name a kernel with --kernel and --initrd.",
           options.kernel);
    }
    if (!options.initrd) options.initrd = BOOT "initrd";
  }
  const char* disk = tools ? tools_disk() : NULL;
  if (disk) options.disks[options.disk_count++] = disk;
  for (int i = 0; i < given_count; ++i) options.disks[options.disk_count++] = given[i];

  machine_create((megabytes ? megabytes : default_memory()) << 20, true);
  if (!options.serial) console_add();
  for (int i = 0; i < options.disk_count; ++i) disk_add(options.disks[i]);
  for (int i = 0; i < options.share_count; ++i) share_add(options.shares[i]);
  linux_load();
  terminal_start();
  machine_run();
}
