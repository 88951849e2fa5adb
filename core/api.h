#pragma once
/// What the libraries export when they are shared (BUILD_SHARED_LIBS): everything else is compiled with hidden visibility.

#define FRIEZE_API __attribute__((visibility("default")))
