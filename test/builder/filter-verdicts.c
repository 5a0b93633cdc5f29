/* SPDX-License-Identifier: Apache-2.0
 * Says what the kernel decides by a filter of system calls, while no call is made: under the filter lies another, which refuses with an error
 * of its own whatever the filter lets through [Linux Documentation/userspace-api/seccomp_filter.rst: of several filters the strictest answer
 * counts, of equally strict ones the youngest's]. Arguments: a file of struct sock_filter, and a file of calls, one a line: number and up to five
 * parameters, hexadecimal. Prints a line for each: "allow", the number of the error, or "-" and the number of the signal that ended it. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The largest error that there is, and that no call gives. */
#define GUARDED 4095
/* The sixth parameter of our own calls, which the filter below lets through. */
#define OURS 0x77617962L
#define SIXTH (offsetof(struct seccomp_data, args) + 5 * 8)

static struct sock_filter guard[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SIXTH),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OURS, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | GUARDED),
};
static struct sock_filter filter[BPF_MAXINSNS];

static void install(struct sock_filter *instructions, unsigned short count) {
  struct sock_fprog program = {count, instructions};
  if (syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0, OURS) == 0) return;
  perror("the kernel does not take the filter");
  _exit(2);
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  FILE *file = fopen(argv[1], "rb");
  FILE *calls = fopen(argv[2], "r");
  if (file == NULL || calls == NULL) {
    perror(argv[0]);
    return 2;
  }
  size_t count = fread(filter, sizeof filter[0], BPF_MAXINSNS, file);
  int *got = mmap(NULL, sizeof *got, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  char line[256];
  while (fgets(line, sizeof line, calls) != NULL) {
    char *words = line;
    long number = strtol(words, &words, 16);
    unsigned long given[5];
    for (int i = 0; i < 5; i++) given[i] = strtoul(words, &words, 16);
    *got = -1;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
      prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
      install(guard, sizeof guard / sizeof guard[0]);
      install(filter, (unsigned short)count);
      long result = syscall(number, given[0], given[1], given[2], given[3], given[4], 0L);
      *got = result == -1 ? errno : 0;
      syscall(SYS_exit_group, 0, 0, 0, 0, 0, OURS);
    }
    int status;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) printf("-%d\n", WTERMSIG(status));
    else if (*got == GUARDED) printf("allow\n");
    else printf("%d\n", *got);
  }
  return 0;
}
