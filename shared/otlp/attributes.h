// attributes.h - the names of podspy's attributes on the wire. Inside of shared/otlp.
#pragma once

#define SPY_ATTR_THREAD_ID   "thread.id"
#define SPY_ATTR_THREAD_NAME "thread.name"
#define SPY_ATTR_STATE       "podspy.thread.state" // spy_activity_names
#define SPY_ATTR_GIL         "podspy.gil"          // "holds", "waits" or "none"
#define SPY_ATTR_GC          "podspy.gc"           // 1 while collecting, else left out
#define SPY_ATTR_QUALITY     "podspy.samples."     // followed by a name of SPY_QUALITY
#define SPY_SYSTEM_MARKER    "podspy:marker"
#define SPY_SYSTEM_NATIVE    "podspy:native"
// From OpenTelemetry's semantic conventions.
#define SPY_ATTR_FRAME_TYPE "profile.frame.type"
#define SPY_ATTR_EXE_NAME   "process.executable.name"
#define SPY_ATTR_EXE_PATH   "process.executable.path"
