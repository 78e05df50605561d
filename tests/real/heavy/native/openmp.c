/* A sum over the helpers of OpenMP. */
#include <stdint.h>

int64_t sum_in_parallel(int64_t count) {
    int64_t sum = 0;
#pragma omp parallel for reduction(+ : sum)
    for (int64_t i = 0; i < count; i++) sum += i;
    return sum;
}
