/* This file contains the map of flows that the node's stack takes part in. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../address.h"

struct stack_flow {
	struct address pod;
	struct address peer;
	__be16 pod_port;
	__be16 peer_port;
	__u8 protocol;
	__u8 zero[3];
};

/* Flows of which a packet came to the pod by the node's stack; the value means nothing. LRU: one that is pushed out is
 * noted again with the next packet. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct stack_flow);
	__type(value, __u8);
} tb_stack_flows SEC(".maps");
