/* This file contains the pods of this node as the node sees them: by address, behind the host end of a veth pair. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "maps/pods.h"

static __always_inline struct pod *find_pod(const struct address *address)
{
	return bpf_map_lookup_elem(&tb_pods, address);
}
