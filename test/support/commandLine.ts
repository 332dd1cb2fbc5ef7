import {execFile} from 'node:child_process'
import {promisify} from 'node:util'

const run = promisify(execFile)

/** Runs the command line as an operator does, in a process of its own. `env`: of the server that it is for. */
export const community = async (
  env: NodeJS.ProcessEnv,
  ...args: string[]
): Promise<{status: number; stdout: string; stderr: string}> => {
  const {LOG_LEVEL, ...rest} = env
  try {
    const {stdout, stderr} = await run(process.execPath, ['bin/community.js', ...args], {
      env: {PATH: process.env.PATH, ...rest},
    })
    return {status: 0, stdout, stderr}
  } catch (error) {
    const {code, stdout, stderr} = error as {code: number; stdout: string; stderr: string}
    return {status: code, stdout, stderr}
  }
}
