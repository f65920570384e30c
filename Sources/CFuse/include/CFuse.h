#ifndef S3B_CFUSE_H
#define S3B_CFUSE_H
#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>
#endif
