/* This file contains the mark of functions that stay functions in the object. Each has a stack frame of its own, and all
 * frames together have 512 bytes, so what is rare and needs room is kept out of the frame of the common case. */
#pragma once

#define SUBPROGRAM static __attribute__((noinline, unused))
