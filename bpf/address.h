/* This file contains the one form in which every map and program holds an address. */
#pragma once

#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <stdbool.h>

/* 16 bytes in network order; IPv4 as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2), so that behind the
 * parser there is one code path for both families. */
struct address {
	__be32 words[4];
};

static __always_inline struct address address_of_ipv4(__be32 ipv4)
{
	return (struct address){ .words = { 0, 0, bpf_htonl(0xffff), ipv4 } };
}

static __always_inline bool address_is_ipv4(const struct address *address)
{
	return address->words[0] == 0 && address->words[1] == 0 && address->words[2] == bpf_htonl(0xffff);
}

/* The last word first: that is where two addresses of one cluster differ. */
static __always_inline bool address_equal(const struct address *a, const struct address *b)
{
	return a->words[3] == b->words[3] && a->words[2] == b->words[2] && a->words[1] == b->words[1] &&
	       a->words[0] == b->words[0];
}
