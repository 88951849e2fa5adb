#pragma once
/// What shared libraries export (BUILD_SHARED_LIBS=ON): everything is compiled with hidden visibility but what installed headers declare,
/// each of which says `namespace frieze FRIEZE_API {`.

#if __cplusplus < 202002L
#error "Frieze's headers need C++20"
#endif

#define FRIEZE_API __attribute__((visibility("default")))
