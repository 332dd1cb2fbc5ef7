import {flushCompileCache} from 'node:module'
import {readConfig} from './config.ts'

/** How long a stop may take before the process ends anyway. */
const STOP_MS = 10_000

const serve = async (): Promise<void> => {
  const config = readConfig(process.env)
  // What can't be loaded is told as any other reason not to start.
  const {openApp} = await import('./app.ts')
  let stopping: Promise<void> | null = null
  const stop = (status: number): void => {
    if (stopping) return
    setTimeout(() => process.exit(1), STOP_MS).unref()
    // What is still being opened could not be closed.
    stopping = started.then(
      () => app.stop(),
      () => app.stop(),
    )
    void stopping.then(() => process.exit(status))
  }
  const fatal = (reason: string): void => {
    process.stderr.write(`${reason}\n`)
    stop(1)
  }
  const app = openApp(config, {onFatal: fatal})
  process.on('SIGTERM', () => stop(0))
  process.on('SIGINT', () => stop(0))
  process.on('uncaughtException', (error) => fatal(`unexpected: ${error.stack ?? String(error)}`))
  process.on('unhandledRejection', (error) =>
    fatal(`unexpected: ${error instanceof Error ? error.stack : String(error)}`),
  )
  const started = app.start()
  try {
    await started
    // For the next start, also where this process will be killed.
    flushCompileCache()
  } catch (error) {
    if (stopping) return
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    await app.stop()
    process.exit(1)
  }
}

const argv = process.argv.slice(2)
try {
  // The command line is loaded only where it is wanted: a server does not need it in memory.
  if (argv.length === 1 && argv[0] === 'serve') await serve()
  else {
    const {runCommandLine} = await import('./operations/commandLine.ts')
    const status = await runCommandLine(argv, serve)
    // Once what was printed has been taken: a pipe holds 64 KiB.
    if (status !== null) process.stdout.write('', () => process.exit(status))
  }
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(1)
}
