#ifndef PANDO_TESTS_SIM_FAULTS_H
#define PANDO_TESTS_SIM_FAULTS_H

#include <stdbool.h>

/* What befalls a cluster at random. Each fault counts itself in the tally. */

/* Classes of faults beside those of every run. */
enum faults_class {
	FAULTS_DISK_LOSS = 1,      /* disks that are emptied or put back, or lie */
	FAULTS_DIRECTORY_LOSS = 2, /* directories that are put back, or are two */
	FAULTS_ROT = 4,            /* bytes of one machine's disk */
};
void faults_allow(unsigned classes);
/* Before a run, when the cluster has been started. */
void faults_reset(void);
/* One of them, on one of the machines. */
void faults_strike(void);
/* One kind of trouble of one machine ends. */
void faults_ease(void);
/* Everything is mended: machines run, lines and disks are well, the directory is one and reaches
 * all; then it is quiet for as long as it takes until volumes that stand still go on. */
void faults_mend(void);
/* The operator looks at what is closed: opens it, or moves it. */
void faults_open_closed(void);

#endif
