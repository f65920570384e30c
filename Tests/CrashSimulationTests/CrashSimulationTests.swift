import CrashSim
import Testing
