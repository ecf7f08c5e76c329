/* This file contains the flow table: what a pod's packets become on their way to a backend, and back. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../address.h"

/* DIRECTIONS of a flow, as the client sees it: */
#define FLOW_FORWARD 0 /* client to service (or straight to a backend), before translation */
#define FLOW_REPLY 1   /* backend to client, before translation */

struct flow_key {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 direction;
	__u16 zero;
};

/* STATES of a flow; both halves hold the same one: */
#define FLOW_NEW 0     /* no reply yet */
#define FLOW_OPEN 1    /* seen in both directions */
#define FLOW_CLOSING 2 /* TCP: FIN in both directions */
#define FLOW_RESET 3   /* TCP: RST seen; traffic that goes on regardless opens the flow again */

/* FLAGS of a flow: */
#define FLOW_DIRECT (1 << 0)     /* goes straight to a backend; tracked so that its tuple is known to be taken */
#define FLOW_SELF (1 << 1)       /* client and backend are the same pod: by way of lo */
#define FLOW_CLIENT_FIN (1 << 2) /* TCP: the client has closed its direction */
#define FLOW_SERVER_FIN (1 << 3) /* TCP: the server has closed its direction */
#define FLOW_LINGERS (1 << 4)    /* TCP: the server closed first, so that its end of the tuple is in TIME-WAIT */

/* One direction of a flow. The other half's key follows from this half's key and value. */
struct flow {
	struct address address; /* forward: the backend's, new destination; reply: the service's, new source */
	__be16 port;            /* belonging to address */
	__be16 client_port;     /* forward: what the client's port becomes; reply: what it is at the client */
	__u32 service;          /* number; 0 in a direct flow */
	__u32 backend;          /* number; 0 in a direct flow */
	__u32 seen;             /* last packet, in seconds of CLOCK_MONOTONIC */
	__u32 since;            /* begin of the state, in seconds of CLOCK_MONOTONIC */
	__u8 state;
	__u8 flags;
	__u8 next_hop[6]; /* forward: the neighbour's MAC as of `seen`; zero: not known, or on another device */
};

/* Flows, two entries each. Never LRU: a port scan must not push out an idle database connection. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__type(key, struct flow_key);
	__type(value, struct flow);
} tb_flows SEC(".maps");
