/* This file contains the marks of functions that stay functions in the object. Each has a stack frame of its own, and all
 * frames together have 512 bytes, so what is rare and needs room is kept out of the frame of the common case. */
#pragma once

/* Not static: the verifier goes through such a function once, with any arguments of their types, and at a call compares types
 * alone. Through a static one it would go at every call, in every state that the caller may be in there, and whatever that one
 * finds multiplies the caller's states in turn (docs/adr/0014). So a caller knows nothing of what it gets back: numbers have no
 * bounds, what pointers are to may be anything, and a pointer cannot be returned. */
#define SUBPROGRAM __attribute__((noinline, unused))

/* A pointer argument that is never NULL, and is to a whole struct. Linux before 6.8 does not know this mark; there the loader
 * makes the functions static. */
#define GIVEN __attribute__((btf_decl_tag("arg:nonnull")))
