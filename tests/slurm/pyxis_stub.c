/* Takes the container options that pyxis adds to srun, and writes what every task of a step was
 * given to DIRECTORY/JOB.STEP: one NAME=VALUE per option, then its arguments, a NUL behind each.
 *
 *   plugstack.conf: required pyxis_stub.so DIRECTORY
 */
#include <slurm/spank.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

SPANK_PLUGIN(pyxis_stub, 1);

enum { IMAGE, MOUNTS, WORKDIR, WRITABLE, COUNT };
static char *given[COUNT];
static int remember(int which, const char *value, int remote) {
  (void)remote;
  given[which] = strdup(value && *value ? value : "yes");
  return 0;
}
static struct spank_option options[] = {
    {"container-image", "IMAGE", "image of the container", 1, IMAGE, remember},
    {"container-mounts", "SRC:DST,...", "directories inside", 1, MOUNTS, remember},
    {"container-workdir", "PATH", "working directory inside", 1, WORKDIR, remember},
    {"container-writable", NULL, "writable root", 0, WRITABLE, remember},
    SPANK_OPTIONS_TABLE_END};

int slurm_spank_init(spank_t spank, int count, char **arguments) {
  (void)count, (void)arguments;
  for (int i = 0; options[i].name; i++)
    if (spank_option_register(spank, &options[i]) != ESPANK_SUCCESS) return -1;
  return 0;
}

int slurm_spank_task_init(spank_t spank, int count, char **arguments) {
  uint32_t job = 0, step = 0;
  int words = 0;
  char **argv = NULL, path[4096];
  if (count < 1 || !given[IMAGE]) return 0;
  spank_get_item(spank, S_JOB_ID, &job);
  spank_get_item(spank, S_JOB_STEPID, &step);
  spank_get_item(spank, S_JOB_ARGV, &words, &argv);
  snprintf(path, sizeof path, "%s/%u.%u", arguments[0], job, step);
  FILE *file = fopen(path, "w");
  if (!file) return -1;
  for (int i = 0; i < COUNT; i++)
    if (given[i]) fprintf(file, "%s=%s%c", options[i].name, given[i], 0);
  for (int i = 0; i < words; i++) fprintf(file, "%s%c", argv[i], 0);
  fclose(file);
  return 0;
}
