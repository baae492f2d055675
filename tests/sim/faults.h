#ifndef PANDO_TESTS_SIM_FAULTS_H
#define PANDO_TESTS_SIM_FAULTS_H

/* What befalls a cluster at random. Each fault counts itself in the tally. */

/* One of them, or none, on one of the machines. */
void faults_strike(void);
/* Everything is mended: machines run, lines and disks are well, the directory reaches all. */
void faults_mend(void);

#endif
