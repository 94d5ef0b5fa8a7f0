/**
 * For `v8.setFlagsFromString`, before anything else: lets the heap grow to three times what lives in it before all of
 * it is looked through again. Buffers lie outside of the heap and count there too, but die young, in the cheap look at
 * what is new, which their size sets off as well. V8's own reckoning lets the heap of a program that moves bytes grow
 * so little at times that it is looked through twelve times a second: a file of 1 GiB then costs the master 12 s of
 * processor time, with this 3.5 s. A V8 that does not know the flag says so on stderr and goes on.
 */
export const HEAP_FLAGS = '--heap-growing-percent=200';
