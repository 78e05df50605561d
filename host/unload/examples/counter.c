/* A library for `threads`: a value for each thread, with a destructor of its own; a thread that runs
 * until it is told to stop; a handler of a signal; a function at the exit. All of it would be called
 * after the library has gone, if nobody took it back.
 *
 * cc -shared -fPIC -pthread -o libcounter.so counter.c
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

static pthread_key_t key;
static pthread_t thread;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t told = PTHREAD_COND_INITIALIZER;
static int stopping;
static atomic_long total;

static void free_count(void *count) { free(count); }

static void on_window(int signal) { (void)signal; atomic_fetch_add(&total, 1000); }

static void at_end(void) { atomic_store(&total, -1); }

static void *wait_for_stop(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&lock);
    while (!stopping)
        pthread_cond_wait(&told, &lock);
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* 0: it can be used. */
int start(void)
{
    if (pthread_key_create(&key, free_count) != 0)
        return 1;
    signal(SIGWINCH, on_window);
    atexit(at_end);
    return pthread_create(&thread, NULL, wait_for_stop, NULL);
}

/* How often this thread has called it. */
long count(void)
{
    long *mine = pthread_getspecific(key);
    if (mine == NULL) {
        mine = calloc(1, sizeof *mine);
        pthread_setspecific(key, mine);
    }
    atomic_fetch_add(&total, 1);
    return ++*mine;
}

/* Ends the thread. Key and handler are left to whoever loaded the library. */
void stop(void)
{
    pthread_mutex_lock(&lock);
    stopping = 1;
    pthread_cond_signal(&told);
    pthread_mutex_unlock(&lock);
    pthread_join(thread, NULL);
}
