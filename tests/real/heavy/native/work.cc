// What C++ leaves behind: thread-locals with destructors, threads, exceptions.
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {
thread_local std::vector<std::string> scratch;

int fail(int number) {
    scratch.push_back(std::to_string(number));
    throw std::runtime_error("on purpose");
}
}  // namespace

extern "C" int work_in_cxx(int number) {
    int got = 0;
    std::thread other([&] {
        try {
            got = fail(number);
        } catch (const std::exception &) {
            got = number + 1;
        }
    });
    other.join();
    scratch.emplace_back("here as well");
    return got + 1;
}
