#ifndef PANDO_TESTS_SIM_STRANGER_H
#define PANDO_TESTS_SIM_STRANGER_H

/* Connects to one of a machine's doors without a certificate, says something, and is to get nothing
 * for it. */
void stranger_come(unsigned machine);

#endif
