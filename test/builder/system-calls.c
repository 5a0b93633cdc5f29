/* SPDX-License-Identifier: Apache-2.0
 * Makes the system calls that its arguments name and prints what each gave: "0" or the number of the error, or "-" and the
 * number of the signal that ended it. An argument is a number of a call and its parameters, hexadecimal, separated by
 * commas; "f" is the path of a file. "i386" makes a call in the way of 32-bit programs, "exec=PATH" becomes a program and prints its
 * exit code. "filter=PATH" prints nothing: what follows is made under the filter in that file, an array of struct sock_filter. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char file[] = "/build/f";
static struct sock_filter instructions[BPF_MAXINSNS];
static struct sock_fprog filter = {0, instructions};

static int make_call(char *words) {
  long given[6] = {-1, -1, -1, -1, -1, -1};
  long number = strtol(words, &words, 16);
  for (int i = 0; *words == ',' && i < 6; i++) {
    words++;
    if (*words == 'f' && words[1] == '!') {
      given[i] = (long)file;
      words += 2;
    } else {
      given[i] = (long)strtoul(words, &words, 16);
    }
  }
  long got = syscall(number, given[0], given[1], given[2], given[3], given[4], given[5]);
  return got < 0 && got > -4096 ? errno : 0;
}

static int make_i386_call(void) {
#ifdef __x86_64__
  int got;
  __asm__ volatile("int $0x80" : "=a"(got) : "a"(20) : "memory");
#endif
  return 0;
}

static void read_filter(const char *path) {
  FILE *opened = fopen(path, "rb");
  if (opened != NULL) filter.len = (unsigned short)fread(instructions, sizeof *instructions, BPF_MAXINSNS, opened);
  if (filter.len > 0) return;
  perror(path);
  exit(2);
}

/* In the way of bubblewrap, which leaves the filter to the kernel and does not look at it. */
static void install_filter(void) {
  if (filter.len == 0) return;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0) return;
  perror("the kernel does not take the filter");
  _exit(255);
}

static int try_word(char *word) {
  install_filter();
  if (strcmp(word, "i386") == 0) return make_i386_call();
  if (strncmp(word, "exec=", 5) != 0) return make_call(word);
  execl(word + 5, word + 5, NULL);
  return errno;
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    if (strncmp(argv[i], "filter=", 7) == 0) {
      read_filter(argv[i] + 7);
      continue;
    }
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) _exit(try_word(argv[i]));
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) printf("-%d\n", WTERMSIG(status));
    else printf("%d\n", WEXITSTATUS(status));
  }
  return 0;
}
