/* This file contains what services and backends are known by: an address and port of one protocol. */
#pragma once


#include "../address.h"

/* SCOPES of a frontend: by which policy it is served. */
#define INSIDE 0  /* for pods and for the node's own processes */
#define OUTSIDE 1 /* for clients whose packets come to the node from the network */
#define HANDED_OVER 2 /* for such packets that another node has handed over: by backends of this node alone */

/* An address and port of one protocol: a service's frontend or a backend. */
struct endpoint {
	struct address address;
	__be16 port;
	__u8 protocol; /* IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP */
	__u8 scope;    /* of a frontend; INSIDE for a backend */
};
