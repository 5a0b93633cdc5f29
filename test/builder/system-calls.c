/* SPDX-License-Identifier: Apache-2.0
 * Makes the system calls that its arguments name and prints what each gave: "0" or the number of the error, or "-" and the
 * number of the signal that ended it. An argument is a number of a call and its parameters, hexadecimal, separated by
 * commas; "f" is the path of a file. "i386" makes a call in the way of 32-bit programs. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char file[] = "/build/f";

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

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) _exit(strcmp(argv[i], "i386") == 0 ? make_i386_call() : make_call(argv[i]));
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) printf("-%d\n", WTERMSIG(status));
    else printf("%d\n", WEXITSTATUS(status));
  }
  return 0;
}
