/* This file contains the map of the pods of this node. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../address.h"

/* FLAGS of a pod: */
#define POD_STACK (1 << 0)         /* from and to it, packets take the node's stack: something there has to see them */
#define POD_KEEPS_ADDRESS (1 << 1) /* towards the outside it is not hidden behind the node (natOutgoing: false) */
#define POD_ANSWERS_STACK (1 << 2) /* set by tb_host_egress: it has flows in tb_stack_flows */

struct pod {
	__u32 ifindex;          /* of the host end: who sends from here has this address */
	__u32 flags;
	__u8 mac[6];            /* of the pod's end */
	__u8 gateway[6];        /* of the host end, which is where the pod's packets come from */
};

/* The veth pods of this node, by each of their addresses: 250 pods with two each are usual. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct address);
	__type(value, struct pod);
} tb_pods SEC(".maps");
