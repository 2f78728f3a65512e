/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs that run until they are told to stop, and then bring what they have to an end. */
#ifndef MOETAP_TOOLS_STOP_H
#define MOETAP_TOOLS_STOP_H

#include <stdbool.h>

/* SIGINT, SIGTERM and SIGHUP set what stop_wanted() says; SIGPIPE and SIGXFSZ become errors of the calls. */
void stop_on_signals(void);
bool stop_wanted(void);

#endif
