#pragma once
/// A rewrite of a test's own.
#include <string>
#include <utility>

#include <frieze/core/rewrite.h>

namespace frieze::test {

/// In the registry for as long as it lives, so that tests do not meet each other's rewrites.
class RegisteredRewrite {
 public:
  RegisteredRewrite(std::string name, RewriteFunction apply, RewriteStage stage = RewriteStage::before_fusion) : name_(std::move(name)) {
    rewrite_registry().add(name_, std::move(apply), stage);
  }
  ~RegisteredRewrite() { rewrite_registry().remove(name_); }
  RegisteredRewrite(const RegisteredRewrite&) = delete;
  RegisteredRewrite& operator=(const RegisteredRewrite&) = delete;

 private:
  std::string name_;
};

}  // namespace frieze::test
