/* This file contains the one form in which every map and program holds an address. */
#pragma once

#include <linux/types.h>
#include <stdbool.h>

/* 16 bytes in network order; IPv4 as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2), so that behind the
 * parser there is one code path for both families. */
struct address {
	__be32 words[4];
};
