/* server/base/version.h - which version this is, as a string. The Makefile defines HOLDFAST_VERSION for the files that include it. */
#ifndef HOLDFAST_BASE_VERSION_H
#define HOLDFAST_BASE_VERSION_H

#ifndef HOLDFAST_VERSION
#error "the Makefile says which version this is"
#endif
#define HOLDFAST_VERSION_TEXT_OF(token) #token
#define HOLDFAST_VERSION_TEXT(macro) HOLDFAST_VERSION_TEXT_OF(macro)
#define HOLDFAST_VERSION_STRING HOLDFAST_VERSION_TEXT(HOLDFAST_VERSION)

#endif
