import {openApp} from './app.ts'
import {readConfig} from './config.ts'

const USAGE = `Usage: npm run -s community -- <command>

  serve    runs the server, as npm start does
`

/** How long a stop may take before the process ends anyway. */
const STOP_MS = 10_000

const serve = async (): Promise<void> => {
  let stopping: Promise<void> | null = null
  const stop = (status: number): void => {
    if (stopping) return
    setTimeout(() => process.exit(1), STOP_MS).unref()
    stopping = app.stop().then(() => process.exit(status))
  }
  const fatal = (reason: string): void => {
    process.stderr.write(`${reason}\n`)
    stop(1)
  }
  const app = openApp(readConfig(process.env), {onFatal: fatal})
  process.on('SIGTERM', () => stop(0))
  process.on('SIGINT', () => stop(0))
  process.on('uncaughtException', (error) => fatal(`unexpected: ${error.stack ?? String(error)}`))
  process.on('unhandledRejection', (error) =>
    fatal(`unexpected: ${error instanceof Error ? error.stack : String(error)}`),
  )
  try {
    await app.start()
  } catch (error) {
    if (stopping) return
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    await app.stop()
    process.exit(1)
  }
}

const [command, ...rest] = process.argv.slice(2)
if (command === 'serve' && rest.length === 0) {
  try {
    await serve()
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    process.exit(1)
  }
} else {
  process.stderr.write(USAGE)
  process.exit(command === '--help' ? 0 : 2)
}
