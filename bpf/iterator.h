/* This file contains the context of programs that iterate over a map (5.9). The agent starts a run by reading from the
 * iterator, and what the program prints is what it reads. */
#pragma once

#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* Kernel types, of which only these fields are used; libbpf finds their places by BTF. */
struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
} __attribute__((preserve_access_index));

struct bpf_map {
	__u32 max_entries;
} __attribute__((preserve_access_index));

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
} __attribute__((preserve_access_index));
