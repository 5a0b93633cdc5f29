/* SPDX-License-Identifier: Apache-2.0
 * The first process of a virtual machine of tests: loads modules, lays the host's root read-only under a file system in memory if the machine has it,
 * runs one command as root and says how it ended. It finds in its RAM disk:
 *   /modules/<nn>-<name>.ko  loaded in this order
 *   /command                 words, each ended by a zero byte
 *   /environment             name=value, each ended by a zero byte
 *   /folder                  where the command starts
 * Host's root: a virtio-9p device with the tag "host". Control groups: version 2, all controllers given on to the group of the command.
 * Says on the console, in lines of their own: "machine: begin", what the command prints as it is, "machine: exit N" or "machine: failed …". */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define GROUPS "/sys/fs/cgroup"
#define CONSOLE_LEVEL 8

/* The machine ends here, whatever happened: QEMU is told not to start it again. */
static void end(void) {
  fflush(stdout);
  tcdrain(STDOUT_FILENO);
  sync();
  reboot(RB_AUTOBOOT);
  _exit(1);
}

static void fail(const char *what) {
  printf("\nmachine: failed: %s: %s\n", what, strerror(errno));
  end();
}

static void lay(const char *source, const char *target, const char *type, unsigned long flags, const char *options) {
  mkdir(target, 0755);
  if (mount(source, target, type, flags, options) != 0) fail(target);
}

static void load_modules(void) {
  struct dirent **entries;
  int count = scandir("/modules", &entries, NULL, alphasort);
  for (int i = 0; i < count; i++) {
    char path[512];
    if (entries[i]->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "/modules/%s", entries[i]->d_name);
    int module = open(path, O_RDONLY | O_CLOEXEC);
    if (module < 0 || syscall(SYS_finit_module, module, "", 0) != 0) fail(path);
    close(module);
  }
}

static void write_text(const char *path, const char *text) {
  int file = open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0 || write(file, text, strlen(text)) < 0) fail(path);
  close(file);
}

static void mount_kernel(void) {
  lay("devtmpfs", "/dev", "devtmpfs", 0, "");
  lay("proc", "/proc", "proc", 0, "");
  lay("sysfs", "/sys", "sysfs", 0, "");
}

/* Like switch_root: the host's root below, memory above, as the root of everything. */
static void enter_host_root(void) {
  lay("host", "/below", "9p", MS_RDONLY, "trans=virtio,version=9p2000.L,cache=loose,msize=524288");
  lay("tmpfs", "/above", "tmpfs", 0, "mode=0755,size=75%");
  mkdir("/above/upper", 0755);
  mkdir("/above/work", 0755);
  lay("overlay", "/whole", "overlay", 0, "lowerdir=/below,upperdir=/above/upper,workdir=/above/work");
  if (chdir("/whole") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0) fail("the host's root");
  mount_kernel();
  lay("devpts", "/dev/pts", "devpts", 0, "ptmxmode=0666,mode=0620");
  lay("tmpfs", "/dev/shm", "tmpfs", 0, "mode=1777");
}

/* Every controller is given on, twice: to a group that the command's own group is in, so that it may make groups beside its own. */
static void delegate_groups(void) {
  char controllers[256], words[512] = "";
  lay("cgroup2", GROUPS, "cgroup2", 0, "");
  mkdir(GROUPS "/machine", 0755);
  mkdir(GROUPS "/machine/command", 0755);
  int file = open(GROUPS "/cgroup.controllers", O_RDONLY | O_CLOEXEC);
  ssize_t size = read(file, controllers, sizeof controllers - 1);
  if (size < 0) fail(GROUPS);
  close(file);
  controllers[size] = 0;
  for (char *word = strtok(controllers, " \n"); word != NULL; word = strtok(NULL, " \n"))
    snprintf(words + strlen(words), sizeof words - strlen(words), "+%s ", word);
  write_text(GROUPS "/cgroup.subtree_control", words);
  write_text(GROUPS "/machine/cgroup.subtree_control", words);
}

/* The words of a file, each ended by a zero byte. */
static char **read_words(const char *path) {
  static char text[1 << 20];
  static size_t used;
  char **words = calloc(1 << 16, sizeof *words), *begin = text + used;
  FILE *file = fopen(path, "r");
  if (file == NULL || words == NULL) fail(path);
  used += fread(begin, 1, sizeof text - used - 1, file);
  for (int i = 0; begin < text + used; begin += strlen(begin) + 1) words[i++] = begin;
  fclose(file);
  return words;
}

int main(void) {
  mount_kernel();
  int console = open("/dev/console", O_RDWR);
  for (int i = 0; i < 3; i++) dup2(console, i);
  struct termios raw;
  tcgetattr(STDOUT_FILENO, &raw);
  cfmakeraw(&raw);
  tcsetattr(STDOUT_FILENO, TCSANOW, &raw);
  load_modules();
  char **command = read_words("/command"), **environment = read_words("/environment"), **folder = read_words("/folder");
  int on_host_root = access("/host-root", F_OK) == 0;
  if (on_host_root) {
    enter_host_root();
    delegate_groups();
  }
  /* From here on the console is the command's: the kernel speaks only of its own death. */
  klogctl(CONSOLE_LEVEL, NULL, 1);
  printf("\nmachine: begin\n");
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    if (on_host_root) write_text(GROUPS "/machine/command/cgroup.procs", "0");
    if (chdir(folder[0]) != 0) fail(folder[0]);
    dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
    setsid();
    execve(command[0], command, environment);
    fail(command[0]);
  }
  int status;
  /* Whoever loses its parent becomes ours. */
  for (pid_t ended = 0; ended != child;) ended = wait(&status);
  printf("\nmachine: exit %d\n", WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
  end();
}
